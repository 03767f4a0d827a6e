"""How far it is: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Progress = Callable[[str, int, int], None]

_EVERY = 10.0


@contextmanager
def show_progress(stream: TextIO) -> Iterator[Progress]:
    """What to call with what is being done, how much of it is done, and how much there is."""
    if not stream.isatty():
        yield _Lines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            if done == 0:
                bar.reset(task, description=what, total=total)
            bar.update(task, description=what, completed=done, total=total)

        yield report


class _Lines:
    """A line when something begins, and one every ten seconds while it lasts."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done == 0:
            self._write(what)
        elif done < total and now - self._told > _EVERY:
            self._write(f"{what}: {done} of {total}")
        else:
            return
        self._told = now

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()
