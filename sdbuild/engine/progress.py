"""Progress: a live line for each running stage on a terminal, everywhere else plain lines."""

from __future__ import annotations

import math
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from sdbuild.errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType


EVERY = 30.0
"""Seconds between two lines on a stage that runs, where there is no terminal."""

_ENOUGH = 0.05
"""The share of a stage after which its rate says something."""


@dataclass(frozen=True)
class Place:
    """Where a stage stands among those of a build."""

    number: int = 1
    total: int = 1
    left: float | None = None
    """Seconds that it and those after it took the last time; None where that is not known of all of them."""

    def __str__(self) -> str:
        """``[3/14]``."""
        return f"[{self.number}/{self.total}]"


class Display(Protocol):
    """Where a build tells what it is doing. Called from several threads. What a terminal would act on is escaped."""

    def start(self, task: str, title: str, place: Place | None = None) -> None:
        """A stage starts."""

    def news(self, task: str, done: int, total: int, unit: str) -> None:
        """It has done so much."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def remark(self, text: str) -> None:
        """The same, for those who follow a build."""

    def end(self, task: str, text: str) -> None:
        """A stage ended; ``text`` is the line that stays."""

    def close(self) -> None:
        """No more will come."""


def make_display(stream: TextIO) -> Display:
    """The kind of display that a stream can show."""
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return LiveDisplay(stream)
    return PlainDisplay(stream, EVERY)


class PlainDisplay:
    """A line when a stage starts and one when it ends, and between them, when it takes long, one now and then."""

    def __init__(self, stream: TextIO, every: float = EVERY) -> None:
        """Write to ``stream``; ``every`` so many seconds what a stage has done."""
        self._stream = stream
        self._every = every
        self._lock = threading.Lock()
        self._running: dict[str, _Line] = {}
        self._closed = threading.Event()
        self._watch: threading.Thread | None = None

    def start(self, task: str, title: str, place: Place | None = None) -> None:
        """Say so."""
        line = _Line(task, title, place)
        self.say(", ".join(filter(None, (f"{line.name()}: {title}", line.left()))))
        with self._lock:
            self._running[task] = line
            if self._watch is None:
                self._watch = threading.Thread(target=self._report, daemon=True)
                self._watch.start()

    def news(self, task: str, done: int, total: int, unit: str) -> None:
        """Kept for the next line on it."""
        if line := self._running.get(task):
            line.news(done, total, unit)

    def say(self, text: str) -> None:
        """Write it."""
        with self._lock:
            self._write(text)

    def remark(self, text: str) -> None:
        """Write it."""
        self.say(text)

    def end(self, task: str, text: str) -> None:
        """Say so."""
        with self._lock:
            self._running.pop(task, None)
            self._write(text)

    def close(self) -> None:
        """Report no more."""
        self._closed.set()
        if self._watch is not None:
            self._watch.join()

    def _write(self, text: str) -> None:
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()

    def _report(self) -> None:
        """Until all is over: a line on each stage that has run for so long again."""
        while True:
            with self._lock:
                now = time.monotonic()
                for line in self._running.values():
                    if now >= line.told + self._every:
                        line.told = now
                        self._write(line.text())
                wait = min((line.told + self._every - now for line in self._running.values()), default=self._every)
            if self._closed.wait(wait):
                return


class LiveDisplay:
    """Lines that stay above, and below them one for each running stage, redrawn four times a second."""

    def __init__(self, stream: TextIO) -> None:
        """Take over the lower lines of a terminal."""
        from rich.console import Console
        from rich.live import Live

        self._running: dict[str, _Line] = {}
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, get_renderable=self._draw)
        self._live.start()

    def start(self, task: str, title: str, place: Place | None = None) -> None:
        """Add its line."""
        self._running[task] = _Line(task, title, place)
        self._live.refresh()

    def news(self, task: str, done: int, total: int, unit: str) -> None:
        """Change its line."""
        if line := self._running.get(task):
            line.news(done, total, unit)

    def say(self, text: str) -> None:
        """Print above the live lines."""
        self._console.print(printable(text), soft_wrap=True)

    def remark(self, text: str) -> None:
        """Print above the live lines."""
        self.say(text)

    def end(self, task: str, text: str) -> None:
        """Replace its line by one that stays."""
        self._running.pop(task, None)
        self._live.refresh()
        self.say(text)

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def _draw(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for line in list(self._running.values()):
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in line.cells()))
        return table


class _Line:
    """What is known about a running stage."""

    def __init__(self, task: str, title: str, place: Place | None = None) -> None:
        self._task, self._title, self._place = task, title, place
        self._amount = ""
        self._share: float | None = None
        self._started = self.told = time.monotonic()

    def news(self, done: int, total: int, unit: str) -> None:
        self._amount = amount(done, total, unit)
        self._share = done / total if total else None

    def name(self) -> str:
        return self._task if self._place is None else f"{self._place} {self._task}"

    def cells(self) -> tuple[str, ...]:
        """Of a row: place, task, time, share, amount and what is left."""
        passed = int(time.monotonic() - self._started)
        share = "" if self._share is None else f"{self._share:4.0%}"
        clock = f"{passed // 60}:{passed % 60:02d}"
        return str(self._place or ""), self._task, clock, share, self._amount or self._title, self.left()

    def text(self) -> str:
        """The same as a line: ``[3/14] compress:unet: 12 of 345 tensors, 1 min 02 s, about 2 min left``."""
        passed = seconds(time.monotonic() - self._started)
        return f"{self.name()}: " + ", ".join(filter(None, (self._amount or self._title, passed, self.left())))

    def left(self) -> str:
        """What the build still takes as the last one did, else what this stage does at its rate; empty if neither is known."""
        passed = time.monotonic() - self._started
        if self._place is not None and self._place.left is not None:
            return f"about {roughly(self._place.left - passed)} left" if self._place.left > passed else ""
        if self._share is None or not _ENOUGH <= self._share < 1:
            return ""
        return f"about {roughly(passed / self._share - passed)} left of it"


def amount(done: int, total: int, unit: str) -> str:
    """`1.2 of 3.4 GB`, `12 of 345 tensors`."""
    if unit != "B":
        return f"{done:,} of {total:,} {unit}" if total else f"{done:,} {unit}"
    return f"{size(done)} of {size(total)}" if total else size(done)


def size(count: float) -> str:
    """Bytes for people, in powers of 1000 as Finder and disk makers count."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def seconds(value: float) -> str:
    """`0.8 s`, `1 min 23 s`."""
    if value < 59.95:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


def roughly(value: float) -> str:
    """Seconds that are a guess: `20 s`, `3 min`."""
    if value < 90:
        return f"{max(5, 5 * math.ceil(value / 5))} s"
    return f"{round(value / 60)} min"
