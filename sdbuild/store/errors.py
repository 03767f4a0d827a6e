"""What goes wrong with disks and folders, told in one line each."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdbuild.errors import UserError

UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What the system says where this user may not write."""

_ELSEWHERE = "set SDBUILD_STORE to a folder of your own"
_MAKE_ROOM = (
    "Make room (`doit gc older=0d` removes what no recipe in use needs), then run the same command again: finished stages "
    "are kept"
)


class StoreError(UserError):
    """The store can't be used as it is: full, unreadable, read-only, in a wrong place."""


def explain(error: OSError, root: Path, instead: str = _ELSEWHERE) -> StoreError | None:
    """What an error of the system means for the user of the folder ``root``; None for one of another kind.

    ``instead`` is what to do where this folder can't be had.
    """
    place = str(error.filename) if error.filename is not None else str(root)
    if error.errno == errno.ENOSPC:
        lack = "it takes no more files (its inodes are used up)" if lacks_files(root) else f"{free_text(root)} free"
        return StoreError(f"the disk is full: {lack} where {root} lies. {_MAKE_ROOM}")
    if error.errno == errno.EDQUOT:
        return StoreError(
            f"the disk is full: what this user may have of it, where {root} lies, is used up. {_MAKE_ROOM}"
        )
    if error.errno == errno.EMFILE:
        return StoreError(
            "too many open files: allow this process more of them (ulimit -n 4096), or build fewer stages at once (-n 1)"
        )
    if error.errno == errno.ENFILE:
        return StoreError("too many open files: the whole system may have no more of them; close other programs")
    if error.errno == errno.EFBIG:
        return StoreError(f"{place}: a file grew larger than this disk or this user's limit (ulimit -f) allows")
    if error.errno == errno.EROFS:
        return StoreError(f"{place}: the disk is read-only; {instead}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return StoreError(f"{place}: no permission; give it to this user, or {instead}")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP):
        return StoreError(f"{place}: a file is where a folder should be, or the other way round; {instead}")
    if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
        return StoreError(f"{place}: this file system has no locks; {instead} on a local disk")
    if error.errno in (errno.EIO, errno.ESTALE, errno.ENXIO):
        return StoreError(f"{place}: the disk does not answer ({error.strerror})")
    if error.errno == errno.ENAMETOOLONG:
        return StoreError(f"{place}: the path is too long; {instead} with a shorter one")
    return None


def not_writable(root: Path) -> StoreError:
    """The error for where this user can make nothing in a store, and something is missing in it."""
    return StoreError(
        f"not all that is asked for is in the store {root} (`doit plan` shows what is missing), and it is read-only, or this "
        f"user has no permission to write there: give it to this user, or {_ELSEWHERE}"
    )


def not_removable(root: Path) -> StoreError:
    """The error for where this user can remove nothing from a store."""
    return StoreError(
        f"nothing can be removed from the store {root}: it is read-only, or this user has no permission to write there: give "
        f"it to this user, or {_ELSEWHERE}"
    )


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


@contextmanager
def unless_unwritable() -> Iterator[None]:
    """Do without what can't be written by this user: a store that is read-only serves what it has."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise


def free_bytes(path: Path) -> int | None:
    """Bytes free on the disk of ``path``, or of its nearest parent that exists."""
    for folder in (path, *path.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def lacks_files(path: Path) -> bool:
    """The disk has room for bytes, maybe, but for no more files."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_files > 0 and disk.f_favail == 0  # Btrfs, which makes inodes as needed, says 0 of 0


def free_text(path: Path) -> str:
    """`free_bytes` for people."""
    free = free_bytes(path)
    return "an unknown amount" if free is None else f"{free / 1e6:.0f} MB"
