"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class Lock:
    """A held ``flock`` on a file. A child process that inherits ``descriptor`` holds it too."""

    def __init__(self, path: Path, descriptor: int, lasting: bool) -> None:
        """Use `take` or `try_take`."""
        self.descriptor = descriptor
        self._path = path
        self._lasting = lasting

    @classmethod
    def try_take(cls, path: Path, *, shared: bool = False, lasting: bool = False) -> Lock | None:
        """The lock, or None when another holds it; the file of a ``lasting`` one stays when it is released."""
        return cls._take(path, shared, fcntl.LOCK_NB, lasting)

    @classmethod
    def take(cls, path: Path, *, shared: bool = False, on_wait: Callable[[], None] = lambda: None) -> Lock:
        """The lock, when need be after calling ``on_wait`` once and waiting."""
        lock = cls.try_take(path, shared=shared)
        if lock is None:
            on_wait()
            lock = cls._take(path, shared, 0)
            assert lock is not None
        return lock

    @classmethod
    def _take(cls, path: Path, shared: bool, flags: int, lasting: bool = False) -> Lock | None:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, (os.O_RDONLY if shared else os.O_RDWR) | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | flags)
                # Whoever held it before may have removed the file: then what was locked here is no longer in the folder.
                if _same_file(descriptor, path):
                    return cls(path, descriptor, lasting or shared)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def release(self) -> None:
        """Let go. The file of a lock held alone is removed, so that none pile up."""
        if not self._lasting:
            self._path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def __enter__(self) -> Lock:
        """Already held."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release."""
        self.release()


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
