"""What every program of sdbuild does at its beginning and end: standard streams, the one message, the exit status."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from sdbuild.colours import coloured
from sdbuild.errors import NO_MEMORY, Status, UserError, printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PLAIN = {"→": "->", "…": "...", "—": "-", "–": "-", "×": "x", "²": "2", "’": "'"}


def run_program(main: Callable[[], int]) -> NoReturn:
    """Run a program and end the process with its exit status, one of `Status` or 128 and the number of a signal.

    Whatever becomes of its output, the program goes on: what it makes is not lost with the reader. Output that was lost is
    reported at the end, unless the reader has just gone away, as ``head`` does.
    """
    output = _take_streams()
    try:
        status = main()
    except UserError as error:
        complain(str(error))
        status = error.status
    except KeyboardInterrupt:
        sys.stdout.flush()
        sys.stderr.write("interrupted\n")
        status = 128 + signal.SIGINT
    except MemoryError:
        complain(NO_MEMORY)
        status = Status.FAILED
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else Status.DONE if end.code is None else Status.FAILED
    except Exception as error:
        report_fault(error)
        status = Status.FAULT
    sys.stdout.flush()
    if output.lost is not None and output.lost.errno == errno.EPIPE:
        status = status or 128 + signal.SIGPIPE
    elif output.lost is not None:
        complain(f"the output can't be written: {output.lost.strerror}; all else was done as if it could")
        status = status or Status.FAILED
    sys.stderr.flush()
    sys.exit(status)


_listeners: list[Callable[[str, str], object]] = []


@contextmanager
def heard(listener: Callable[[str, str], object]) -> Iterator[None]:
    """Have every error and warning that is printed meanwhile passed on, as ("error" or "warning", its text)."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def note(kind: str, text: str) -> None:
    """Pass a message on to whoever listens."""
    for listener in _listeners:
        listener(kind, text)


def complain(text: str) -> None:
    """The one message that a failed command prints."""
    sys.stdout.flush()
    sys.stderr.write(f"{coloured(f'error: {printable(text)}', sys.stderr)}\n")
    note("error", text)


def warn(text: str) -> None:
    """A warning, which says itself that it is one."""
    sys.stdout.flush()
    sys.stderr.write(f"{coloured(printable(text), sys.stderr)}\n")
    note("warning", text)


def report_fault(error: BaseException) -> None:
    """The traceback of a fault of our own."""
    import traceback

    sys.stdout.flush()
    traceback.print_exception(error)


class TolerantOutput(io.RawIOBase):
    """A stream that takes everything, and keeps the error if it can't be written."""

    def __init__(self, descriptor: int) -> None:
        """Write to an open descriptor, which stays open."""
        self._descriptor = descriptor
        self.lost: OSError | None = None
        """Why what was written since is lost."""

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal's."""
        return os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer) -> int:
        """All of it, as far as anyone can see; maybe in several calls."""
        while self.lost is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # somebody made it so for all who share it
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes


def _take_streams() -> TolerantOutput:
    """Put streams that fail at no character and no write in place of the standard ones; the standard output."""
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except (
            OSError
        ):  # closed: no file of ours is to be opened under its number, and written to as if it were a stream
            os.open(os.devnull, mode)
    codecs.register_error("sdbuild", _in_plain_characters)
    output, errors = TolerantOutput(1), TolerantOutput(2)
    for name, raw in (("stdout", output), ("stderr", errors)):
        former = getattr(sys, name)
        if former is not None:
            with suppress(OSError):
                former.flush()
        encoding = "utf-8" if former is None else former.encoding
        lines = name == "stderr" or raw.isatty()
        setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="sdbuild", line_buffering=lines))
    return output


def _in_plain_characters(error: UnicodeError) -> tuple[str | bytes, int]:
    """An encoder's way out: what looks alike in ASCII, else an escape."""
    if isinstance(error, UnicodeEncodeError) and (plain := _PLAIN.get(error.object[error.start])):
        return plain, error.start + 1
    return codecs.backslashreplace_errors(error)
