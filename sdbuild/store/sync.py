"""Putting files on the disk itself, so that a loss of power finds an artifact whole or not at all.

A rename may reach the disk before the content of what was renamed: what must not happen is forced in that order, as fsync(2)
and POSIX have it: contents, the folders that name them, and only then the stamp.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

_FULL = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: fsync leaves data in the drive's own cache, this does not."""

_CANT = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOTTY}
"""Of file systems that don't know what they are asked: nothing more can be done there."""


def sync_file(path: Path) -> None:
    """The content of a file."""
    _sync(path, os.O_RDONLY, full=True)


def sync_folder(path: Path) -> None:
    """The names in a folder."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY, full=True)


def sync_tree(folder: Path) -> None:
    """All that lies below a folder, and the folder. What symlinks lead to is nobody's here to keep."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = Path(place, name)
            if not file.is_symlink():
                _sync(file, os.O_RDONLY, full=False)
        # The last one empties the drive's cache, and with it goes what was written before.
        _sync(Path(place), os.O_RDONLY | os.O_DIRECTORY, full=Path(place) == folder)


def _sync(path: Path, flags: int, *, full: bool) -> None:
    descriptor = os.open(path, flags)
    try:
        if full and _FULL is not None:
            fcntl.fcntl(descriptor, _FULL)
        else:
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANT:
            raise
    finally:
        os.close(descriptor)
