"""Where a build reports what it is doing: to the terminal, to nobody, and to a log beside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.progress import Display, Place, PlainDisplay, make_display
from sdbuild.errors import UsageError, UserError, printable
from sdbuild.program import heard


def display_of(arguments: Arguments, log: TextIO | None) -> Callable[[], Display]:
    """The display that a command line asks for. With ``json=1`` the standard output is left to the document."""
    stream = sys.stderr if arguments.variables.get("json") == "1" else sys.stdout

    def make() -> Display:
        shown: Display = Quiet(sys.stderr) if arguments.options.quiet else make_display(stream)
        return shown if log is None else Several((shown, PlainDisplay(log)))

    return make


class Quiet:
    """Only what is worth knowing besides the result: warnings, and what is waited for."""

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``."""
        self._plain = PlainDisplay(stream)

    def start(self, task: str, title: str, place: Place | None = None) -> None:
        """Not shown."""

    def news(self, task: str, done: int, total: int, unit: str) -> None:
        """Not shown."""

    def say(self, text: str) -> None:
        """Write it."""
        self._plain.say(text)

    def end(self, task: str, text: str) -> None:
        """Not shown."""

    def close(self) -> None:
        """Nothing to do."""


class Several:
    """Several displays that are told the same."""

    def __init__(self, displays: Sequence[Display]) -> None:
        """Pass on to ``displays``."""
        self._displays = displays

    def start(self, task: str, title: str, place: Place | None = None) -> None:
        """Pass it on."""
        for each in self._displays:
            each.start(task, title, place)

    def news(self, task: str, done: int, total: int, unit: str) -> None:
        """Pass it on."""
        for each in self._displays:
            each.news(task, done, total, unit)

    def say(self, text: str) -> None:
        """Pass it on."""
        for each in self._displays:
            each.say(text)

    def end(self, task: str, text: str) -> None:
        """Pass it on."""
        for each in self._displays:
            each.end(task, text)

    def close(self) -> None:
        """Pass it on."""
        for each in self._displays:
            each.close()


@contextmanager
def logging(arguments: Arguments, here: Path) -> Iterator[TextIO | None]:
    """The file of ``log=``, which also gets the errors and warnings that are printed meanwhile. Raises UserError."""
    if "log" not in arguments.variables:
        yield None
        return
    path = here / arguments.variables["log"]
    try:
        file = path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
    except (OSError, ValueError) as error:
        raise UsageError(f"log={path}: can't be written to ({getattr(error, 'strerror', None) or error})") from None
    with file, heard(lambda kind, text: file.write(f"{kind}: {printable(text)}\n")):
        try:
            yield file
        except UserError as error:
            file.write(f"error: {printable(str(error))}\n")
            raise
