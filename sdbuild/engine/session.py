"""One build: the graph it is about, how its tasks stand, and what it has done."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdbuild.engine import progress
from sdbuild.engine.agenda import Agenda
from sdbuild.engine.failures import DamagedInputsError, StageError
from sdbuild.engine.owners import other_owner
from sdbuild.engine.reasons import Reasons
from sdbuild.engine.results import (
    Destination,
    Result,
    is_published,
    lock_results,
    publish,
    result_of,
    shown_parts,
    stale_folders,
    unwritten,
    withdraw,
)
from sdbuild.engine.space import check_space, check_writable, surely_due
from sdbuild.engine.survey import Due, Ready, State, due_nodes, examine, survey
from sdbuild.errors import UserError
from sdbuild.plan import Build, Graph, Node
from sdbuild.program import note
from sdbuild.recipe.problems import display
from sdbuild.store import Artifact, BuildRecord, Entry, Lock, Records, Store, sweep
from sdbuild.store.errors import explained, not_writable

if TYPE_CHECKING:
    from sdbuild.engine.making import Maker


def results_task(build: Build) -> str:
    """The name of the task that puts a build's results into its folder."""
    return f"_results:{build.name}:{build.variant or ''}"


_ATTEMPTS = 3
"""Of a stage whose inputs prove damaged: other builds may find the same damage, and make the same again, at any moment."""


_DAMAGED_AGAIN = (
    "{}: what it is made of was damaged again each time that it was made; test the disk and the memory of this machine"
)


class Session:
    """Runs the tasks that doit schedules. Methods that run or examine tasks may be called from several threads."""

    def __init__(
        self,
        graph: Graph,
        store: Store,
        to: Destination,
        jobs: int,
        *,
        whole: bool,
        display: Callable[[], progress.Display] | None = None,
        verbose: bool = False,
    ) -> None:
        """Build ``graph`` with up to ``jobs`` stages at once.

        ``whole`` says that it has every build of its recipe: what was built of other variants of it, is out of date.
        ``display`` makes what shows the progress (the standard output's), once there is any; ``verbose``: stages' logs, too.
        """
        self.graph = graph
        self.store = store
        self.to = to
        self.ran: list[str] = []
        """Tasks that were run."""
        self.reused: set[str] = set()
        """Tasks whose artifact was there."""
        self._in_place: set[Build] = set()
        self.published = False
        """Some of them were written anew."""
        self._whole = whole
        self._began = time.time_ns()
        self._maker: Maker | None = None
        self._verbose = verbose
        self._records = Records(store.root)
        recipes = {build.recipe for build in graph.builds} if whole else set()
        self._former = {variant for recipe in recipes for variant in self._records.read(recipe).builds}
        self._former -= {build.variant or "" for build in graph.builds}
        self._states: dict[Node, State] = {}
        self._reasons: dict[Node, str] = {}
        self._why = Reasons(store, graph)
        self._warnings: set[str] = set()
        self._lock = threading.RLock()
        self._asked: frozenset[str] = frozenset()
        self._space_known = False
        self._agenda = Agenda()
        self._jobs = jobs
        self._damage_seen = False
        self._make_display = display or (lambda: progress.make_display(sys.stdout))
        self._display: progress.Display | None = None
        self._in_use: Lock | None = None

    def open(self, asked: frozenset[str]) -> None:
        """Take the store into use, to do the tasks of these names. Raises UserError."""
        self._asked = asked
        self._in_use = self.store.in_use(lambda: self._say("waiting for `gc` to finish in another window"))
        sweep(self.store)

    def finish(self) -> None:
        """Write down what was found or made, and remove results of variants that are no more. Raises UserError."""
        for build in self.shown if self._damage_seen else ():  # others' damage may be theirs, by hard links
            self._restore(build.result)
            self.show(build)
        self.note(self._states)
        if self._whole and len(self.shown) == len(self.graph.builds):
            for folder in stale_folders(self.graph.builds, self.to, self._former):
                self._withdraw(folder)

    def close(self) -> None:
        """Give back the terminal and the store."""
        if self._maker is not None:
            self._maker.close()
        with self._lock:
            if self._display is not None:
                self._display.close()
                self._display = None
        if self._in_use is not None:
            self._in_use.release()
            self._in_use = None

    # Tasks of the graph

    def is_done(self, node: Node) -> bool:
        """Its artifact is in the store. Raises UserError."""
        state = self._states[node] = examine(self.store, node, self._states)
        if isinstance(state, Ready):
            self.reused.add(self.graph.names[node])
            self.store.note_use(state.artifact)
            return True
        self._reasons[node] = self._why.of(node, state, self._last(node))
        return False

    def is_all_done(self) -> bool:
        """All that is asked for is there, so that nothing has to run."""
        try:
            return all(self.is_done(node) for name, node in self.graph.tasks.items() if name in self._asked) and all(
                self.is_shown(build) for build in self.graph.builds if results_task(build) in self._asked
            )
        except Exception:  # which is for the task to report, when it runs
            return False

    def run(self, node: Node) -> None:
        """Make its artifact, unless another build has meanwhile. Where its inputs prove damaged, they are made again first.

        Raises UserError.
        """
        for _ in range(_ATTEMPTS):
            if self._attempt(node):
                return
            for item in node.inputs:
                self._restore(item.node)
            if self.is_done(node):  # its key is another one where they came to other content
                return
        raise UserError(_DAMAGED_AGAIN.format(self.graph.names[node]))

    def _attempt(self, node: Node) -> bool:
        """Whether its inputs were whole, so that its artifact is there now."""
        due = self._states[node]
        if not isinstance(due, Due):  # an input is being made again, for another task that found it damaged
            return isinstance(due, Ready)
        with explained(self.store.root):
            name = self.graph.names[node]
            if self._in_use is None:
                raise not_writable(self.store.root)
            with self.store.making(due.key, lambda: self._say(f"{name}: another build is at it; waiting")) as lock:
                found = self.store.look(node.stage.name, due.key)
                if isinstance(found, Artifact):
                    self._ready(node, due.key, found)
                    self.reused.add(name)
                    return True
                try:
                    self._make(node, due, lock)
                except DamagedInputsError as error:
                    self._damage_seen = True
                    self._say(f"{name}: damaged in the store, and made again: {error}")
                    return False
        return True

    def _restore(self, node: Node) -> None:
        """Make again what is damaged of a node and of all it is made of. Raises UserError."""
        for item in node.inputs:
            self._restore(item.node)
        if not self.is_done(node):
            self.run(node)

    def _make(self, node: Node, due: Due, lock: Lock) -> None:
        from sdbuild.engine.making import job_of  # a build that has nothing to do starts no processes

        name = self.graph.names[node]
        display = self._shown()
        started = time.monotonic()
        try:
            self._check_space()
            if self._last(node) is not None and not any(
                self.graph.names[item.node] in self.ran for item in node.inputs
            ):
                display.remark(f"{name}: runs again: {self._reasons[node]}")
            display.start(name, node.stage.title, self._agenda.begin(node))
            assert self._in_use is not None
            made_for = f"{self.graph.users[node][0].recipe}: {name}"
            made = self._making().make(
                node,
                name,
                job_of(node, due, self._states, self.store, made_for),
                (lock, self._in_use),
                self._agenda.left(),
                lambda done, total, unit: display.news(name, done, total, unit),
                lambda text: self._warn(name, text),
            )
            self._ready(node, due.key, made)
            self.ran.append(name)
            took = progress.seconds(time.monotonic() - started)
            display.end(name, f"{name}: {took}, {progress.size(made.stamp.size)}")
        except (UserError, OSError, DamagedInputsError) as error:
            display.end(name, f"{name}: failed after {progress.seconds(time.monotonic() - started)}")
            if isinstance(error, StageError):
                raise UserError(f"{name}: {error}", status=error.status) from None
            raise

    def _making(self) -> Maker:
        from sdbuild.engine.making import Maker

        with self._lock:
            if self._maker is None:
                self._maker = Maker(self.store, self._jobs, self._say if self._verbose else None)
            return self._maker

    def _ready(self, node: Node, key: str, artifact: Artifact) -> None:
        with self._lock:
            self._states[node] = Ready(key, artifact)
            self.note([node])

    # Results

    def artifacts(self) -> dict[Node, Artifact]:
        """Those that are known to be whole."""
        return {node: state.artifact for node, state in self._states.items() if isinstance(state, Ready)}

    def is_shown(self, build: Build) -> bool:
        """Its results lie in the build folder as they should."""
        if not is_published(self._result(build)):
            return False
        self._in_place.add(build)
        return True

    def show(self, build: Build) -> None:
        """Put its results into the build folder. Raises UserError."""
        result = self._result(build)
        if not is_published(result):
            result = self._intact_result(build)
        with lock_results(self.store, result.folder, self.to):
            if not is_published(result):
                self.to.check(build, self.store)
                if other := other_owner(self.store, build, result.folder):
                    what = f"{display(result.folder)} held the results of {display(other)}, which are replaced"
                    self._warn(build.name, f"{what}; give one of the two another name, or another folder with out=")
                publish(result)
                self.published = True
        self._in_place.add(build)

    def _result(self, build: Build) -> Result:
        try:
            return result_of(build, self.artifacts(), self.to)
        except KeyError:  # another task found an artifact damaged, and makes it again
            self._restore(build.result)
            return result_of(build, self.artifacts(), self.to)

    def _intact_result(self, build: Build) -> Result:
        """What its folder should hold, of artifacts that are as they were made: every byte of those that this build has not
        made itself is read, and what is damaged, though size and time are as they were, is made again. Raises UserError.
        """
        from sdbuild.store.integrity import find_damage, set_aside  # of no use to a build that has nothing to do

        for _ in range(_ATTEMPTS):
            result = self._result(build)
            artifacts = self.artifacts()
            parts = [
                (artifacts[node], subpath)
                for node, subpath in shown_parts(build)
                if self.graph.names[node] not in self.ran and node in artifacts
            ]
            damages = find_damage(parts, jobs=os.cpu_count() or 1)
            if not damages:
                return result
            self._damage_seen = True
            self._say(f"{build.name}: damaged in the store, and made again: {set_aside(self.store, damages)}")
            self._restore(build.result)
        raise UserError(_DAMAGED_AGAIN.format(display(result.folder)))

    def _withdraw(self, folder: Path) -> None:
        """Remove the results of a variant that is no more, unless another build has meanwhile written them."""
        with lock_results(self.store, folder, self.to):
            try:
                if folder.stat().st_mtime_ns < self._began:
                    withdraw(folder)
            except FileNotFoundError:  # another build has removed them meanwhile
                return
            except OSError as error:
                raise unwritten(error, folder) from error

    @property
    def shown(self) -> list[Build]:
        """Builds whose results lie in their folders as they should."""
        return [build for build in self.graph.builds if build in self._in_place]

    # Records

    def _last(self, node: Node) -> Entry | None:
        build = self.graph.users[node][0]
        return self._records.read(build.recipe).entry(build.variant or "", node.label)

    def note(self, nodes: Iterable[Node]) -> None:
        """Write down what recipes are made of now, as far as these nodes go. Raises UserError."""
        keys = {node: state.key for node in nodes if isinstance(state := self._states.get(node), Ready)}
        for recipe in {build.recipe for node in keys for build in self.graph.users[node]}:
            self._records.update(recipe, lambda record, recipe=recipe: self._noted(record, recipe, keys))  # type: ignore[misc]

    def _noted(self, record: BuildRecord, recipe: Path, keys: Mapping[Node, str]) -> BuildRecord:
        builds = {name: dict(tasks) for name, tasks in record.builds.items() if name not in self._former}
        for node, key in keys.items():
            for build in self.graph.users[node]:
                tasks = builds.setdefault(build.variant or "", {}) if build.recipe == recipe else {}
                before = tasks.get(node.label)
                if before is None or before.key != key:
                    tasks[node.label] = Entry(node.stage.name, key, self._reasons.get(node, ""))
        return replace(record, builds=builds)

    def _times(self, nodes: Iterable[Node]) -> dict[Node, float]:
        """Seconds that tasks took in the last build of their recipe, as far as that is known."""
        records = {build.recipe: self._records.read(build.recipe) for build in self.graph.builds}
        found = {}
        for node in nodes:
            build = self.graph.users[node][0]
            last = records[build.recipe].entry(build.variant or "", node.label)
            if last and (stamp := self.store.stamp(last.stage, last.key)):
                found[node] = stamp.seconds
        return found

    # Telling

    def _check_space(self) -> None:
        """Before the first stage: will the disk do for all of them, and the folders of results? Raises UserError."""
        with self._lock:
            if self._space_known:
                return
            states = survey(self.store, self.graph)
            due = [node for node in due_nodes(self.graph, states) if self.graph.names[node] in self._asked]
            check_space(self.store, self.graph, surely_due(self.store, due, states, self._last))
            self._agenda = Agenda(due, self._states, self._times(due) if self._jobs == 1 else {})
            for build in self.graph.builds:
                if results_task(build) in self._asked:
                    check_writable(self.to.folder(build))
                    self.to.check(build, self.store)
            self._space_known = True

    def _shown(self) -> progress.Display:
        with self._lock:
            if self._display is None:
                self._display = self._make_display()
            return self._display

    def _warn(self, name: str, text: str) -> None:
        """Once, whichever stages and variants come upon it."""
        with self._lock:
            known = text in self._warnings
            self._warnings.add(text)
        if not known:
            self._say(f"{name}: warning: {text}")
            note("warning", f"{name}: {text}")

    def _say(self, text: str) -> None:
        self._shown().say(text)
