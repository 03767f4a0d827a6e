"""Why tasks would run: what changed since a recipe was last built, or in what they differ from the nearest of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sdbuild.engine.survey import Due, Ready, State
from sdbuild.errors import one_line
from sdbuild.plan import Difference, Graph, Node, difference
from sdbuild.recipe.problems import display
from sdbuild.store import Entry, Records, Stamp, Store

_TOLD = 4  # differences since the last build
_NEAR = 3  # differences to what was made for another recipe, or in another store that this is a copy of
_LOOKED_AT = 1000  # stamps of a stage, the last used first: 0.1 s


class Reasons:
    """Why tasks of a graph would run.

    The stamps of other builds are read when a task without a past needs them, once a stage.
    """

    def __init__(self, store: Store, graph: Graph) -> None:
        """For the tasks of ``graph``, as they stand in ``store``."""
        self._store = store
        self._graph = graph
        self._stamps: dict[str, list[Stamp]] = {}
        self._built: dict[Path, Mapping[str, object]] = {}

    def of(self, node: Node, state: State, last: Entry | None) -> str:
        """In one phrase. ``last`` is the task's entry in the record of its recipe."""
        if isinstance(state, Ready):
            return "up to date"
        if not isinstance(state, Due):
            before = [self._graph.names[item] for item in state.inputs]
            return f"after {', '.join(before[:3])}{' and others' if len(before) > 3 else ''}"
        if state.damage:
            return f"its artifact in the store is damaged: {state.damage}"
        if last is None:
            unfinished = "no build of this recipe has finished it yet"
            return self._beside(unfinished if self._was_built(node) else "first build", node, state)
        if last.key == state.key:
            return "its artifact is no longer in the store"
        stamp = self._store.stamp(last.stage, last.key)
        found = None if stamp is None else _differences(stamp, state)
        if found is None:
            return self._beside("what it was last built from is no longer in the store", node, state)
        more = [f"{len(found) - _TOLD} more"] if len(found) > _TOLD else []
        names = self._producers(node)
        changes = [
            f"its input {names[one.name]} changed" if one.kind == "input" and one.name in names else str(one)
            for one in found[:_TOLD]
        ]
        return one_line("; ".join((*changes, *more)))

    def _beside(self, reason: str, node: Node, state: Due) -> str:
        """The reason, with the artifact that comes nearest to what is wanted, if one does."""
        near = [
            (found, stamp)
            for stamp in self._of_stage(node.stage.name)
            if _task(stamp) == node.label and (found := _differences(stamp, state)) and len(found) <= _NEAR
        ]
        if not near:
            return reason
        found, stamp = min(near, key=lambda pair: len(pair[0]))
        recipe, _, task = stamp.made_for.rpartition(": ")
        made_for = f"{display(Path(recipe))}: {task}" if recipe else task
        names = self._producers(node)
        return one_line(f"{reason}; differs from {made_for} by {'; '.join(_noun(one, names) for one in found)}")

    def _was_built(self, node: Node) -> bool:
        """Whether other tasks of its build were done, before any that the same build is doing."""
        build = self._graph.users[node][0]
        if build.recipe not in self._built:
            self._built[build.recipe] = Records(self._store.root).read(build.recipe).builds
        return bool(self._built[build.recipe].get(build.variant or ""))

    def _producers(self, node: Node) -> dict[str, str]:
        return {item.role: self._graph.names[item.node] for item in node.inputs}

    def _of_stage(self, stage: str) -> list[Stamp]:
        if stage not in self._stamps:
            self._stamps[stage] = self._store.stamps(stage, _LOOKED_AT)
        return self._stamps[stage]


def _noun(one: Difference, producers: Mapping[str, str]) -> str:
    """A difference between two that stand side by side: neither came before the other."""
    if one.kind == "input":
        return f"its input {producers.get(one.name, one.name)}"
    if one.kind == "file":
        return f"the model's file {one.name}"
    if one.kind == "extension":
        return f"the extension with {one.name}"
    return f"sdbuild's version of the stage ({one.before} → {one.after})" if one.kind == "code" else str(one)


def _task(stamp: Stamp) -> str:
    """The task that an artifact was first made for, whatever the variant."""
    return stamp.made_for.rpartition(": ")[2].partition("@")[0] if isinstance(stamp.made_for, str) else ""


def _differences(before: Stamp, state: Due) -> list[Difference] | None:
    """None for a stamp of something else, whatever wrote it."""
    try:
        return difference(before.ingredients, state.ingredients)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def last_entries(store: Store, graph: Graph) -> dict[Node, Entry]:
    """What records say of tasks: their key when they were last built for the same recipe."""
    records = {recipe: Records(store.root).read(recipe) for recipe in {build.recipe for build in graph.builds}}
    found = {}
    for node in graph.tasks.values():
        build = graph.users[node][0]
        if entry := records[build.recipe].entry(build.variant or "", node.label):
            found[node] = entry
    return found
