"""What a build has to do, what of it is left, and how long that may take."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from sdbuild.engine.progress import Place
from sdbuild.engine.survey import Ready, State
from sdbuild.plan import Node


class Agenda:
    """The tasks that were due when a build ran the first of them. Called from several threads."""

    def __init__(
        self,
        due: Sequence[Node] = (),
        states: Mapping[Node, State] | None = None,
        took: Mapping[Node, float] | None = None,
    ) -> None:
        """``due`` in the order in which they may run; ``states`` change as they do; ``took`` are seconds, of the last build."""
        self._due = due
        self._states = {} if states is None else states
        self._took = took or {}
        self._lock = threading.Lock()
        self._begun: set[Node] = set()
        self._count = 0

    def left(self) -> list[Node]:
        """Those that are running or still to do. A task that need not run, as its inputs are as before, is done."""
        return [node for node in self._due if not isinstance(self._states.get(node), Ready)]

    def begin(self, node: Node) -> Place:
        """Where a task that begins stands: numbers go up one by one, and the total goes down when tasks need not run."""
        with self._lock:
            self._begun.add(node)
            self._count += 1
            left = self.left()
            known = [self._took[task] for task in left if task in self._took]
            total = self._count + len(set(left) - self._begun)
            return Place(self._count, total, sum(known) if len(known) == len(left) else None)
