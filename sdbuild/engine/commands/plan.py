"""The command ``plan``: what a build would do, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, VARIANT, Command
from sdbuild.engine.progress import size
from sdbuild.engine.reasons import Reasons, last_entries
from sdbuild.engine.request import graph_of, load
from sdbuild.engine.results import folder_of, is_published, result_of
from sdbuild.engine.space import check_writable, disk_needed, surely_due
from sdbuild.engine.summary import table
from sdbuild.engine.survey import Ready, State, Waiting, due_nodes, survey
from sdbuild.errors import Status
from sdbuild.plan import Graph, Node
from sdbuild.recipe.problems import display
from sdbuild.store import Store, open_store
from sdbuild.store.errors import free_bytes

_MANY = 40  # tasks that are listed one by one


def run(arguments: Arguments, here: Path) -> int:
    """Print what a build would run, why, how large the results become and what disk it takes.

    Returns:
        The exit status: whether there is anything to do.

    Raises:
        UserError: what a build would refuse at once, too.
    """
    request = load(arguments.variables, here)
    graph, store = graph_of(request), open_store()
    states = survey(store, graph)
    last = last_entries(store, graph)
    due = due_nodes(graph, states)
    print(f"{request.recipes[0].name} ({display(request.path)}): {len(due)} of {len(graph.tasks)} tasks would run")
    if due:
        reasons = Reasons(store, graph)
        rows = [(graph.names[node], reasons.of(node, states[node], last.get(node)), node.stage.title) for node in due]
        print(table([("task", "why", "what"), *rows[:_MANY]]))
        if len(rows) > _MANY:
            print(f"  and {len(rows) - _MANY} more")
        if any(isinstance(states[node], Waiting) for node in due):
            print("  A task that waits for others is spared if they come to the same content as before.")
    print(_sizes(graph, states))
    _tell_disk(store, disk_needed(graph, due), disk_needed(graph, surely_due(store, due, states, last.get)))
    artifacts = {node: state.artifact for node, state in states.items() if isinstance(state, Ready)}
    unpublished = [build for build in graph.builds if not due and not is_published(result_of(build, artifacts, here))]
    for build in graph.builds if due else unpublished:
        check_writable(folder_of(build, here))
    for build in unpublished:
        print(f"{display(folder_of(build, here))} would be written anew from the store")
    return Status.WOULD_RUN if due or unpublished else Status.DONE


def _sizes(graph: Graph, states: Mapping[Node, State]) -> str:
    """A table of models: real sizes where they are known, expected ones elsewhere."""
    rows: list[tuple[str, ...]] = []
    seen = set()
    for build in graph.builds:
        for model in build.models:
            name = graph.names[model.package.node]
            if (name, model.name) in seen:
                continue
            seen.add((name, model.name))
            state = states[model.package.node]
            if isinstance(state, Ready):
                package = size(state.artifact.size(model.package.subpath))
            else:
                package = f"about {size(build.expected[model.compiled].size)}"
            count = f"{model.parameters / 1e6:,.0f} M" if model.parameters else "?"
            rows.append((model.name, count, model.bits, package, name))
    if not rows:
        return ""
    more = f"\n  and {len(rows) - _MANY} more" if len(rows) > _MANY else ""
    return table([("model", "parameters", "bits", "package", "made by"), *rows[:_MANY]]) + more


def _tell_disk(store: Store, need: int, least: int) -> None:
    free = free_bytes(store.root)
    print(
        f"disk: about {size(need)} needed in the store {display(store.root)}, "
        f"{'an unknown amount' if free is None else size(free)} free"
        + (" - NOT ENOUGH, a build would refuse to start" if free is not None and free < least else "")
    )


COMMAND = Command(
    "plan",
    "Ask",
    "what a build would run and why, expected sizes, and the disk it takes; runs nothing",
    """Every task that would run is named with its reason: a setting that changed, an input, a first build. The exit
status is 0 where nothing would run and 10 where something would.""",
    run,
    (CONFIG, VARIANT),
    (("plan sdxl-ios", "what `build sdxl-ios` would do"), ("plan mine.yaml variant=6bit", "of one variant")),
)
