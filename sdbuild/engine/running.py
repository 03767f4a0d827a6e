"""All that this process started for stages, to be ended with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar


class Killable(Protocol):
    """A process, or several."""

    def kill(self) -> None:
        """End it with all that it started, at once. Called at any moment, also twice."""


_Killable = TypeVar("_Killable", bound=Killable)


class _Running:
    """What runs, and whether anything may start."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the handler of a signal may interrupt its holder
        self._started: list[Killable] = []
        self.stopped = False

    def start(self, begin: Callable[[], _Killable]) -> _Killable:
        """What ``begin`` starts."""
        with self._lock:
            if self.stopped:
                raise SystemExit
            started = begin()
            self._started.append(started)
            return started

    def ended(self, started: Killable) -> None:
        """It needs no more ending."""
        with self._lock:
            if started in self._started:
                self._started.remove(started)

    def stop(self) -> None:
        """End every process with its children, and start no more."""
        with self._lock:
            self.stopped = True
            for started in self._started:
                started.kill()


RUNNING = _Running()
