"""Progress: a live line for each running stage on a terminal, plain lines everywhere else."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from sdbuild.errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType


class Display(Protocol):
    """Where a build tells what it is doing. Called from several threads. What a terminal would act on is escaped."""

    def start(self, task: str, title: str) -> None:
        """A stage starts."""

    def news(self, task: str, done: int, total: int, unit: str) -> None:
        """It has done so much."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def end(self, task: str, text: str) -> None:
        """A stage ended; ``text`` is the line that stays."""

    def close(self) -> None:
        """No more will come."""


def make_display(stream: TextIO) -> Display:
    """The kind of display that a stream can show."""
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return LiveDisplay(stream)
    return PlainDisplay(stream)


class PlainDisplay:
    """A line when a stage starts and one when it ends."""

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``."""
        self._stream = stream
        self._lock = threading.Lock()

    def start(self, task: str, title: str) -> None:
        """Say so."""
        self.say(f"{task}: {title}")

    def news(self, task: str, done: int, total: int, unit: str) -> None:
        """Not told."""

    def say(self, text: str) -> None:
        """Write it."""
        with self._lock:
            self._stream.write(f"{printable(text)}\n")
            self._stream.flush()

    def end(self, task: str, text: str) -> None:
        """Say so."""
        self.say(text)

    def close(self) -> None:
        """Nothing to do."""


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

    def start(self, task: str, title: str) -> None:
        """Add its line."""
        self._running[task] = _Line(task, title)
        self._live.refresh()

    def news(self, task: str, done: int, total: int, unit: str) -> None:
        """Change its line."""
        if line := self._running.get(task):
            line.amount = amount(done, total, unit)
            line.share = done / total if total else None

    def say(self, text: str) -> None:
        """Print above the live lines."""
        self._console.print(printable(text), soft_wrap=True)

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

    def __init__(self, task: str, title: str) -> None:
        self.task, self.title = task, title
        self.amount = ""
        self.share: float | None = None
        self._started = time.monotonic()

    def cells(self) -> tuple[str, ...]:
        seconds = int(time.monotonic() - self._started)
        share = "" if self.share is None else f"{self.share:4.0%}"
        return self.task, f"{seconds // 60}:{seconds % 60:02d}", share, self.amount or self.title


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
