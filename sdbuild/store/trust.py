"""Who may write to a store: what lies in it is opened and trusted, so they decide what a build makes, or even does."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from sdbuild.store.errors import StoreError

SHARED = "SDBUILD_STORE_SHARED"

_OTHERWISE = f"set {SHARED}=1 if you trust everyone who can write there, or SDBUILD_STORE to a folder of your own"
_FOLDERS = ("artifacts", "builds", "locks", "logs", "partial", "work")


def check_trust(root: Path) -> None:
    """Refuse a store that another user may write to, unless the environment says ``SDBUILD_STORE_SHARED=1``: all are trusted.

    The folders in which files are found by name must belong to this user or to root, who can do as they please anyway, and
    nobody else may write to them, as far as the root lets anybody in. A group of the owner's number is taken for the owner's
    own, which is how Linux distributions set users up: with it, umask 002 is usual and makes nothing open to others.

    Raises:
        StoreError: it is open to others, or the variable has another value.
        OSError: it can't be looked at.
    """
    said = os.environ.get(SHARED, "")
    if said not in ("", "0", "1"):
        raise StoreError(f"{SHARED}={said}: write 1 if you trust everyone who can write to the store, or leave it out")
    if said == "1":
        return
    top = root.stat().st_mode
    for folder in _folders(root):
        found = folder.stat()
        if found.st_uid not in (os.geteuid(), 0):
            raise StoreError(
                f"{folder} belongs to {_user(found.st_uid)}, who could change what builds open and trust there: "
                f"{_OTHERWISE}"
            )
        if found.st_mode & stat.S_IWOTH and top & stat.S_IXOTH:
            raise _open_to("everyone", "o-w", folder, root)
        if found.st_mode & stat.S_IWGRP and top & stat.S_IXGRP and found.st_gid != found.st_uid:
            raise _open_to("its group", "g-w", folder, root)


def _folders(root: Path) -> Iterator[Path]:
    yield root
    for name in _FOLDERS:
        if (root / name).is_dir():
            yield root / name
    if (root / "artifacts").is_dir():
        yield from (stage for stage in (root / "artifacts").iterdir() if stage.is_dir())


def _open_to(whom: str, change: str, folder: Path, root: Path) -> StoreError:
    return StoreError(
        f"{folder} may be written by {whom}, who could change what builds open and trust there. If nobody else has, "
        f"chmod -R {change} {shlex.quote(str(root))}; or {_OTHERWISE}"
    )


def _user(number: int) -> str:
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user number {number}"
