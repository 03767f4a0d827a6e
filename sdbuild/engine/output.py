"""Where a build reports what it is doing: to the terminal, to nobody, and to a log beside."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedWriter, TextIOWrapper
from pathlib import Path
from typing import TextIO

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.progress import Display, Place, PlainDisplay, make_display
from sdbuild.errors import UsageError, UserError, printable
from sdbuild.program import TolerantOutput, complain, heard


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

    def remark(self, text: str) -> None:
        """Not shown."""

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

    def remark(self, text: str) -> None:
        """Pass it on."""
        for each in self._displays:
            each.remark(text)

    def end(self, task: str, text: str) -> None:
        """Pass it on."""
        for each in self._displays:
            each.end(task, text)

    def close(self) -> None:
        """Pass it on."""
        for each in self._displays:
            each.close()


class Log(TextIOWrapper):
    """The file of ``log=``. A build goes on where it can't be written to, on a full disk, say."""

    def __init__(self, path: Path) -> None:
        """Begin it anew. Raises OSError and ValueError where there can be no such file."""
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._output = TolerantOutput(self._descriptor)
        super().__init__(BufferedWriter(self._output), "utf-8", errors="backslashreplace", line_buffering=True)

    def close(self) -> None:
        """Let go of the file."""
        if self.closed:
            return
        super().close()
        os.close(self._descriptor)

    def is_whole(self) -> bool:
        """Whether all of it was written; prints the error if not."""
        if self._output.lost is not None:
            complain(
                f"log={self.path}: can't be written to ({self._output.lost.strerror}); all else was done as if it could"
            )
        return self._output.lost is None


@contextmanager
def logging(arguments: Arguments, here: Path) -> Iterator[Log | None]:
    """The file of ``log=``, which also gets the errors and warnings that are printed meanwhile. Raises UserError."""
    if "log" not in arguments.variables:
        yield None
        return
    path = here / arguments.variables["log"]
    try:
        file = Log(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"log={path}: can't be written to ({getattr(error, 'strerror', None) or error})") from None
    with file, heard(lambda kind, text: file.write(f"{kind}: {printable(text)}\n")):
        try:
            yield file
        except UserError as error:
            file.write(f"error: {printable(str(error))}\n")
            raise
