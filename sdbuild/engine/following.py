"""A log shown while it is being written, for ``-v``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_EVERY, _SOON = 0.2, 0.02  # seconds


@contextmanager
def following(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Call ``say`` with each line of a file, from another thread, as it is written meanwhile, and with the rest at the end."""
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(path, say, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(path: Path, say: Callable[[str], None], ended: threading.Event) -> None:
    while not path.exists():
        if ended.wait(_SOON):
            return
    rest = b""
    with suppress(FileNotFoundError), path.open("rb") as file:  # held open: a stage that succeeds removes it
        while True:
            last = ended.wait(_EVERY)  # what was written before this is read below
            *lines, rest = (rest + file.read()).split(b"\n")
            for line in [*lines, rest] if last and rest else lines:
                say(line.decode(errors="replace").rstrip("\r"))
            if last:
                return
