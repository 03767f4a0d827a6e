"""The command ``plan``: what a build would do, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, JSON, OUT, VARIANT, Command
from sdbuild.engine.progress import size
from sdbuild.engine.table import table
from sdbuild.errors import Status
from sdbuild.recipe.problems import display

if TYPE_CHECKING:
    from sdbuild.engine.survey import State
    from sdbuild.plan import Graph, Node
    from sdbuild.store import Store

_MANY = 40  # tasks that are listed one by one


def run(arguments: Arguments, here: Path) -> Answer:
    """What a build would run, why, how large the results become and what disk it takes; status 10 if there is anything to do.

    Raises:
        UserError: what a build would refuse at once, too.
    """
    from sdbuild.engine.reasons import Reasons, last_entries
    from sdbuild.engine.request import graph_of, load
    from sdbuild.engine.results import Destination, is_published, result_of
    from sdbuild.engine.space import check_writable, disk_needed, surely_due
    from sdbuild.engine.survey import Ready, Waiting, due_nodes, survey
    from sdbuild.store import open_store

    request = load(arguments.variables, here)
    graph, store, to = graph_of(request), open_store(make=False), Destination.of(arguments.variables, here)
    states = survey(store, graph)
    last = last_entries(store, graph)
    due = due_nodes(graph, states)
    reasons = Reasons(store, graph)
    tasks = [
        {"task": graph.names[node], "why": reasons.of(node, states[node], last.get(node)), "what": node.stage.title}
        for node in due
    ]
    models = _models(graph, states)
    disk = _disk(store, disk_needed(graph, due), disk_needed(graph, surely_due(store, due, states, last.get)))
    artifacts = {node: state.artifact for node, state in states.items() if isinstance(state, Ready)}
    unpublished = [build for build in graph.builds if not due and not is_published(result_of(build, artifacts, to))]
    for build in graph.builds if due else unpublished:
        check_writable(to.folder(build))
        to.check(build, store)
    data = {
        "recipe": request.recipes[0].name,
        "path": str(request.path),
        "tasks": len(graph.tasks),
        "would_run": tasks,
        "would_write": [str(to.folder(build)) for build in unpublished],
        "models": models,
        "disk": disk,
    }
    waiting = any(isinstance(states[node], Waiting) for node in due)
    text = _text(data, display(request.path), tasks, models, disk, waiting)
    return Answer(text, data, Status.WOULD_RUN if due or unpublished else Status.DONE)


def _text(
    data: Mapping[str, Any],
    path: str,
    tasks: Sequence[Mapping[str, str]],
    models: Sequence[Mapping[str, Any]],
    disk: Mapping[str, Any],
    waiting: bool,
) -> str:
    lines = [f"{data['recipe']} ({path}): {len(tasks)} of {data['tasks']} tasks would run"]
    if tasks:
        rows = [(each["task"], each["why"], each["what"]) for each in tasks]
        lines.append(table([("task", "why", "what"), *rows[:_MANY]]))
        if len(rows) > _MANY:
            lines.append(f"  and {len(rows) - _MANY} more")
        if waiting:
            lines.append("  A task that waits for others need not run if they turn out as before.")
    if models:
        shown = [
            (
                each["name"],
                f"{each['parameters'] / 1e6:,.0f} M" if each["parameters"] else "?",
                each["bits"],
                f"{'' if each['exact'] else 'about '}{size(each['package_bytes'])}",
                each["task"],
            )
            for each in models[:_MANY]
        ]
        lines.append(table([("model", "parameters", "bits", "package", "made by"), *shown]))
        if len(models) > _MANY:
            lines.append(f"  and {len(models) - _MANY} more")
    free = disk["free_bytes"]
    lines.append(
        f"disk: about {size(disk['needed_bytes'])} needed in the store {display(Path(disk['store']))}, "
        f"{'an unknown amount' if free is None else size(free)} free"
        + ("" if disk["enough"] else " - NOT ENOUGH, a build would refuse to start")
    )
    lines += [f"{display(Path(folder))} would be written anew from the store" for folder in data["would_write"]]
    return "\n".join(lines)


def _models(graph: Graph, states: Mapping[Node, State]) -> list[dict[str, Any]]:
    """Each model with its size: the real one where that is known, the expected one elsewhere."""
    from sdbuild.engine.survey import Ready

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for build in graph.builds:
        for model in build.models:
            task, state = graph.names[model.package.node], states[model.package.node]
            exact = isinstance(state, Ready)
            found.setdefault(
                (task, model.name),
                {
                    "name": model.name,
                    "parameters": model.parameters or None,
                    "bits": model.bits,
                    "package_bytes": state.artifact.size(model.package.subpath)
                    if isinstance(state, Ready)
                    else build.expected[model.compiled].size,
                    "exact": exact,
                    "task": task,
                },
            )
    return list(found.values())


def _disk(store: Store, need: int, least: int) -> dict[str, Any]:
    from sdbuild.store.errors import free_bytes

    free = free_bytes(store.root)
    enough = free is None or free >= least
    return {"store": str(store.root), "needed_bytes": need, "free_bytes": free, "enough": enough}


COMMAND = Command(
    "plan",
    "Ask",
    "what a build would run and why, expected sizes, and the disk it takes; runs nothing",
    """Every task that would run is named with its reason: a setting that changed, an input, a first build. The exit
status is 0 where nothing would run and 10 where something would.""",
    run,
    (CONFIG, VARIANT, OUT, JSON),
    (("plan sdxl-ios", "what `build sdxl-ios` would do"), ("plan mine.yaml variant=6bit", "of one variant")),
)
