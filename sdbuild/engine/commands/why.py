"""The command ``why``: what made a task run, or would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, TASK, VARIANT, Command
from sdbuild.engine.reasons import Reasons, last_entries
from sdbuild.engine.request import find_task, graph_of, load
from sdbuild.engine.survey import Ready, State, Waiting, due_nodes, survey
from sdbuild.errors import one_line
from sdbuild.plan import Graph, Node
from sdbuild.store import Entry, open_store


def run(arguments: Arguments, here: Path) -> None:
    """Print why a task would run, back to the first causes; or why it ran last. Raises UserError."""
    variables = arguments.variables
    request = load(variables, here)
    graph = graph_of(request)
    wanted = [find_task(graph, variables["task"])] if "task" in variables else None
    store = open_store()
    states = survey(store, graph)
    last = last_entries(store, graph)
    nodes, reasons = wanted or due_nodes(graph, states), Reasons(store, graph)
    if not nodes:
        print(f"{request.recipes[0].name}: nothing would run; every artifact is there")
    for node in nodes:
        _explain(reasons, graph, states, last, node)


def _explain(
    reasons: Reasons, graph: Graph, states: Mapping[Node, State], last: Mapping[Node, Entry], node: Node
) -> None:
    name, state = graph.names[node], states[node]
    if isinstance(state, Ready):
        print(f"{name}: up to date, its artifact is {state.key[:12]}")
        entry = last.get(node)
        if entry is not None and entry.key == state.key and entry.reason:
            print(f"  it last ran here because: {one_line(entry.reason)}")
        elif made_for := state.artifact.stamp.made_for:
            print(f"  first made for {one_line(made_for)}")
        return
    print(f"{name}: would run: {reasons.of(node, state, last.get(node))}")
    told: set[Node] = set()
    pending = list(state.inputs) if isinstance(state, Waiting) else []
    while pending:
        cause = pending.pop(0)
        if cause in told:
            continue
        told.add(cause)
        found = states[cause]
        if isinstance(found, Waiting):
            pending += found.inputs
        else:
            print(f"  {graph.names[cause]}: {reasons.of(cause, found, last.get(cause))}")


COMMAND = Command(
    "why",
    "Ask",
    "why a task would run, or why it ran last: the input or setting that changed",
    """Without a task, all that would run. A task that waits for others is traced back to the first causes. Where a
recipe has not been built yet, the nearest artifact of other builds is named, and in what it differs.""",
    run,
    (CONFIG, VARIANT, TASK),
    (
        ("why sdxl-ios", "all that would run"),
        ("why convert:unet sdxl-ios", "one task; the same as why task=convert:unet config=sdxl-ios"),
    ),
)
