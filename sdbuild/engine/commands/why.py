"""The command ``why``: what made a task run, or would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, JSON, TASK, VARIANT, Command
from sdbuild.errors import one_line

if TYPE_CHECKING:
    from sdbuild.engine.reasons import Reasons
    from sdbuild.engine.survey import State
    from sdbuild.plan import Graph, Node
    from sdbuild.store import Entry


def run(arguments: Arguments, here: Path) -> Answer:
    """Why a task would run, back to the first causes; or why it ran last. Raises UserError."""
    from sdbuild.engine.reasons import Reasons, last_entries
    from sdbuild.engine.request import find_task, graph_of, load
    from sdbuild.engine.survey import due_nodes, survey
    from sdbuild.store import open_store

    variables = arguments.variables
    request = load(variables, here)
    graph = graph_of(request)
    wanted = [find_task(graph, variables["task"])] if "task" in variables else None
    store = open_store(make=False)
    states = survey(store, graph)
    last = last_entries(store, graph)
    nodes, reasons = wanted or due_nodes(graph, states), Reasons(store, graph)
    tasks = [_explain(reasons, graph, states, last, node) for node in nodes]
    name = request.recipes[0].name
    text = "\n".join(map(_text, tasks)) or f"{name}: nothing would run; every artifact is there"
    return Answer(text, {"recipe": name, "path": str(request.path), "tasks": tasks})


def _text(task: Mapping[str, Any]) -> str:
    name = task["task"]
    if task["would_run"]:
        causes = (f"\n  {cause['task']}: {cause['why']}" for cause in task["causes"])
        return f"{name}: would run: {task['why']}{''.join(causes)}"
    text = f"{name}: up to date, its artifact is {task['artifact'][:12]}"
    if task["ran_because"]:
        return f"{text}\n  it last ran here because: {task['ran_because']}"
    return f"{text}\n  first made for {task['made_for']}" if task["made_for"] else text


def _explain(
    reasons: Reasons, graph: Graph, states: Mapping[Node, State], last: Mapping[Node, Entry], node: Node
) -> dict[str, Any]:
    from sdbuild.engine.survey import Ready, Waiting

    name, state = graph.names[node], states[node]
    if isinstance(state, Ready):
        entry = last.get(node)
        because = one_line(entry.reason) if entry is not None and entry.key == state.key else ""
        made_for = one_line(state.artifact.stamp.made_for)
        return {
            "task": name,
            "would_run": False,
            "artifact": state.key,
            "ran_because": because or None,
            "made_for": made_for or None,
        }
    causes = []
    seen: set[Node] = set()
    pending = list(state.inputs) if isinstance(state, Waiting) else []
    while pending:
        cause = pending.pop(0)
        if cause in seen:
            continue
        seen.add(cause)
        found = states[cause]
        if isinstance(found, Waiting):
            pending += found.inputs
        else:
            causes.append({"task": graph.names[cause], "why": reasons.of(cause, found, last.get(cause))})
    return {"task": name, "would_run": True, "why": reasons.of(node, state, last.get(node)), "causes": causes}


COMMAND = Command(
    "why",
    "Ask",
    "why a task would run, or why it ran last: the input or setting that changed",
    """Without a task, all that would run. A task that waits for others is traced back to the first causes. Where a
recipe has not been built yet, the nearest artifact of other builds is named, and in what it differs.""",
    run,
    (CONFIG, VARIANT, TASK, JSON),
    (
        ("why sdxl-ios", "all that would run"),
        ("why convert:unet sdxl-ios", "one task; the same as why task=convert:unet config=sdxl-ios"),
    ),
)
