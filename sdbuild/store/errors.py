"""What goes wrong with disks and folders, told in one line each."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdbuild.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ELSEWHERE = "set SDBUILD_STORE to a folder of your own"


class StoreError(UserError):
    """The store can't be used as it is: full, unreadable, read-only, in a wrong place."""


def explain(error: OSError, root: Path, instead: str = _ELSEWHERE) -> StoreError | None:
    """What an error of the system means for the user of the folder ``root``; None for one of another kind.

    ``instead`` is what to do where this folder can't be had.
    """
    place = str(error.filename) if error.filename is not None else str(root)
    if error.errno in _FULL:
        return StoreError(
            f"the disk is full: {free_text(root)} free where {root} lies. Make room (`doit gc` removes what no "
            "recipe needs), then run the same command again: finished stages are kept"
        )
    if error.errno == errno.EFBIG:
        return StoreError(f"{place}: a file grew larger than this disk or this user's limit (ulimit -f) allows")
    if error.errno == errno.EROFS:
        return StoreError(f"{place}: the disk is read-only; {instead}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return StoreError(f"{place}: no permission; give it to this user, or {instead}")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return StoreError(f"{place}: a file is where a folder should be, or the other way round; {instead}")
    if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
        return StoreError(f"{place}: this file system has no locks; {instead} on a local disk")
    if error.errno in (errno.EIO, errno.ESTALE, errno.ENXIO):
        return StoreError(f"{place}: the disk does not answer ({error.strerror})")
    if error.errno == errno.ENAMETOOLONG:
        return StoreError(f"{place}: the path is too long; {instead} with a shorter one")
    return None


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Raise StoreError instead of an OSError that `explain` knows."""
    try:
        yield
    except OSError as error:
        clear = explain(error, root)
        if clear is None:
            raise
        raise clear from error


def free_bytes(path: Path) -> int | None:
    """Bytes free on the disk of ``path``, or of its nearest parent that exists."""
    for folder in (path, *path.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def free_text(path: Path) -> str:
    """`free_bytes` for people."""
    free = free_bytes(path)
    return "an unknown amount" if free is None else f"{free / 1e6:.0f} MB"
