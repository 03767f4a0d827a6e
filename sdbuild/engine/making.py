"""One node is made: its stage runs in a process, and what it wrote is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from sdbuild.engine.environment import stage_environment
from sdbuild.engine.failures import DamagedInputsError, StageError, failure
from sdbuild.engine.following import following
from sdbuild.engine.process import News, Warn, run_stage
from sdbuild.engine.running import RUNNING
from sdbuild.engine.servers import Kind, Servers
from sdbuild.engine.survey import Due, Ready, State
from sdbuild.extensions import outside
from sdbuild.plan import Node
from sdbuild.plan.sources import outside_files
from sdbuild.store import Artifact, Lock, Store, Workplace


class Maker:
    """Makes the artifacts of nodes on this machine. May be called from several threads."""

    def __init__(self, store: Store, jobs: int, say: Callable[[str], None] | None) -> None:
        """``jobs`` stages may run at once and share the cores; ``say``, if given, gets what they write to their logs."""
        self._store = store
        self._say = say
        self._environments = {online: stage_environment(jobs, online=online) for online in (False, True)}
        self._servers = Servers(self._environments)

    def make(
        self,
        node: Node,
        name: str,
        job: Mapping[str, Any],
        locks: tuple[Lock, ...],
        left: Iterable[Node],
        news: News,
        warn: Warn,
    ) -> Artifact:
        """Run a node's stage until its artifact is in the store.

        Args:
            node: what to make.
            name: of its task.
            job: see `job_of`.
            locks: that the process shares, so that they are held as long as it runs.
            left: what will be made after it, so that it may start at once.
            news: called with its progress.
            warn: called with its warnings.

        Raises:
            StageError: it failed, and why.
            DamagedInputsError: what it reads proved damaged.
            SystemExit: the build is being ended.
        """
        work = Workplace(self._store.root, job["key"])
        kind = _kind(node)
        try:
            work.prepare()
            self._servers.expect(list(dict.fromkeys([kind, *map(_kind, left)])))
            say = self._say
            with nullcontext() if say is None else following(work.log, lambda line: say(f"{name}: {line}")):
                outcome = run_stage(
                    job, work, locks, self._environments[kind.online], news, warn, partial(self._servers.fork, kind)
                )
            if RUNNING.stopped:
                raise SystemExit
            if outcome.damaged is not None:
                raise DamagedInputsError(outcome.damaged)
            if outcome.status != 0:
                why = failure(outcome, work, self._store)
                raise StageError(str(why).removeprefix(f"{node.stage.name}: "), status=why.status)
            made = self._store.look(node.stage.name, job["key"])
            if not isinstance(made, Artifact):
                raise StageError(f"its artifact was damaged as soon as it was made: {made.damage or 'gone'}")
            return made
        finally:
            work.remove()

    def close(self) -> None:
        """End what waits for stages to start."""
        self._servers.close()


def job_of(node: Node, due: Due, states: Mapping[Node, State], store: Store, made_for: str) -> dict[str, Any]:
    """All that a stage's process has to know.

    Raises:
        DamagedInputsError: another task found an input damaged, and makes it again.
    """
    inputs, paths = [], {}
    taken_in: dict[str, tuple[int, ...]] = {}
    for item in node.inputs:
        taken_in |= outside_files(item.node.job)
        state = states[item.node]
        if not isinstance(state, Ready):
            raise DamagedInputsError(f"{item.node.label} is being made again")
        path = state.artifact.path / item.subpath if item.subpath else state.artifact.path
        paths[item.role] = str(path)
        inputs.append({"path": str(path), "stage": item.node.stage.name, "key": state.key})
    return {
        "store": str(store.root),
        "code": node.stage.code,
        "stage": node.stage.name,
        "key": due.key,
        "ingredients": due.ingredients,
        "declaration": [type(node.job).__module__, type(node.job).__name__],
        "job": node.with_paths(paths),
        "inputs": inputs,
        "outside": outside_files(node.job) | _added_files(node),
        "taken_in": taken_in,
        "links": node.stage.links,
        "made_for": made_for,
    }


def _added_files(node: Node) -> dict[str, tuple[int, ...]]:
    """The files of extensions that may do a part of the work: they are in the key, as they were when it was made."""
    return {
        path: state for code in outside(node.stage.code_for(node.job)).values() for path, state in code.files.items()
    }


def _kind(node: Node) -> Kind:
    return Kind(node.stage.code, online=node.stage.fetches)
