"""Commands that only tell: what a build would do and why, what a recipe comes to, what there is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sdbuild.engine.arguments import COMMANDS, TAKES, VARIABLES
from sdbuild.engine.progress import size
from sdbuild.engine.publish import folder_of, is_published, result_of
from sdbuild.engine.reasons import Reasons
from sdbuild.engine.request import find_task, graph_of, load
from sdbuild.engine.space import check_writable, disk_needed, surely_due
from sdbuild.engine.summary import table
from sdbuild.engine.survey import Ready, State, Waiting, due_nodes, survey
from sdbuild.errors import Status, one_line
from sdbuild.plan import Graph, Node
from sdbuild.recipe import load_recipe
from sdbuild.recipe.files import configs_folder, names_in
from sdbuild.recipe.problems import display
from sdbuild.store import Entry, Records, Store, open_store
from sdbuild.store.errors import free_bytes

_MANY = 40  # tasks that are listed one by one


def tell_plan(variables: Mapping[str, str], here: Path) -> int:
    """Print what a build would run, why, how large the results become and what disk it takes.

    Returns:
        The exit status: whether there is anything to do.

    Raises:
        UserError: what a build would refuse at once, too.
    """
    request = load(variables, here)
    graph, store = graph_of(request), open_store()
    states = survey(store, graph)
    last = _last_entries(store, graph)
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


def _last_entries(store: Store, graph: Graph) -> dict[Node, Entry]:
    """What records say of tasks: their key when they were last built for the same recipe."""
    records = {recipe: Records(store.root).read(recipe) for recipe in {build.recipe for build in graph.builds}}
    found = {}
    for node in graph.tasks.values():
        build = graph.users[node][0]
        if entry := records[build.recipe].entry(build.variant or "", node.label):
            found[node] = entry
    return found


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


def tell_why(variables: Mapping[str, str], here: Path) -> None:
    """Print why a task would run, back to the first causes; or why it ran last. Raises UserError."""
    request = load(variables, here)
    graph = graph_of(request)
    wanted = [find_task(graph, variables["task"])] if "task" in variables else None
    store = open_store()
    states = survey(store, graph)
    last = _last_entries(store, graph)
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


def tell_valid(variables: Mapping[str, str], here: Path) -> None:
    """Check a recipe and print what it comes to. Raises UserError."""
    request = load(variables, here)
    count = len(request.recipes)
    print(f"{display(request.path)}: valid, {'1 build' if count == 1 else f'{count} builds'}")
    rows = [
        (
            recipe.variant or recipe.name,
            recipe.os,
            recipe.compute_units,
            str(recipe.resolution),
            recipe.attention,
            ", ".join(recipe.components),
        )
        for recipe in request.recipes
    ]
    print(table([("build", "from", "compute units", "image", "attention", "components"), *rows]))


def tell_all() -> None:
    """Print the recipes that come with sdbuild and the commands."""
    folder = configs_folder()
    print("Recipes (config=NAME, or config=PATH for one of your own):")
    rows = []
    for name in names_in(folder):
        recipe = load_recipe(folder / f"{name}.yaml").recipes[0]
        rows.append((name, recipe.family.title, _opening(folder / f"{name}.yaml")))
    print(
        "\n".join(f"  {name:<{max(len(row[0]) for row in rows)}}  {opening or title}" for name, title, opening in rows)
    )
    print("Commands:")
    width = max(map(len, COMMANDS))
    for name, text in COMMANDS.items():
        takes = " ".join(f"[{variable}=…]" for variable in TAKES[name])
        print(f"  {name:<{width}}  {text}  {takes}".rstrip())
    print("Variables:")
    for name, text in VARIABLES.items():
        print(f"  {name + '=':<{width}}  {text}")
    print("Options of a build: -n N (stages at once), -c (go on after a failure). A task by its name: convert:unet")


def _opening(path: Path) -> str:
    """The first comment of a recipe that is not for editors: what it is for."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and "yaml-language-server" not in line:
            return line.removeprefix("# ")
    return ""
