"""The command ``graph``: what a component computes, as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, JSON, TASK, VARIANT, Command
from sdbuild.errors import UsageError, UserError

if TYPE_CHECKING:
    from sdbuild.plan import Graph, Node


def run(arguments: Arguments, here: Path) -> Answer:
    """The traced graph of a task, or of that which the task's package is made from. Raises UserError."""
    from sdbuild.engine.request import find_task, graph_of, load
    from sdbuild.engine.survey import Ready, survey
    from sdbuild.graphs import as_text, read_graph
    from sdbuild.store import open_store

    variables = arguments.variables
    graph = graph_of(load(variables, here))
    traces = [node for node in graph.tasks.values() if node.stage.name == "trace"]
    known = ", ".join(graph.names[node] for node in traces)
    if "task" not in variables:
        raise UsageError(f"graph prints the graph of one task: name it with task=, one of {known}")
    found = _trace_of(find_task(graph, variables["task"]))
    if found is None:
        raise UsageError(f"{variables['task']} is made from no single graph; name one of {known}")
    state = survey(open_store(make=False), graph)[found]
    if not isinstance(state, Ready):
        raise UserError(
            f"{graph.names[found]} has not been built yet; run: {arguments.program} {_as_command(graph, found, variables)}"
        )
    traced = read_graph(state.artifact.path / "graph.json")
    text = "\n".join(as_text(traced))
    return Answer(text, {"task": graph.names[found], "graph": text.splitlines()})


def _trace_of(node: Node) -> Node | None:
    """The one graph that a node's artifact comes from, through packages."""
    while node.stage.name != "trace":
        sources = [item.node for item in node.inputs if item.role in ("trace", "package")]
        if len(sources) != 1:
            return None
        node = sources[0]
    return node


def _as_command(graph: Graph, node: Node, variables: Mapping[str, str]) -> str:
    config = f" config={variables['config']}" if "config" in variables else ""
    return f"{graph.names[node]}{config}"


COMMAND = Command(
    "graph",
    "Ask",
    "the operations of a component, as they were traced",
    """A line an operation, with shapes and the names of weights, as docs/graph.md describes it. The task is a trace, or one
whose package is made from it.""",
    run,
    (CONFIG, VARIANT, TASK, JSON),
    (("graph trace:unet sdxl-ios", "the same as graph task=trace:unet config=sdxl-ios"),),
)
