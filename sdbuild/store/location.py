"""Where the store lies."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from sdbuild.store.artifacts import Store
from sdbuild.store.errors import StoreError, explained
from sdbuild.store.trust import check_trust

VARIABLE = "SDBUILD_STORE"


def open_store(*, make: bool = True) -> Store:
    """The store that the environment names: ``SDBUILD_STORE``, else a cache folder of the user's. Recipes and clones share it.

    If there is none it is made; without ``make``, for who only asks what is in it, it is only seen to that it could be.

    Raises:
        StoreError: it can't be made, listed, is something else, or others may write there.
    """
    root = location()
    if not root.name:
        raise StoreError(f"{VARIABLE}={root}: name a folder for the store, not the root of the disk")
    with explained(root):
        if not make:
            try:
                root.lstat()
            except FileNotFoundError:
                _check_makeable(root)
                return Store(root)
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileNotFoundError:  # its parent is a place that takes no folders, such as /proc
            raise _no_place(root) from None
        next(root.iterdir(), None)
        check_trust(root)
    return Store(root)


def _check_makeable(root: Path) -> None:
    """Raise OSError or StoreError where no folder could be made."""
    place = next(place for place in root.parents if os.path.lexists(place))
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "", str(root))
    if any(place.is_relative_to(each) for each in ("/proc", "/sys")):  # which take no folders, not even root's
        raise _no_place(root)
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "", str(root))


def _no_place(root: Path) -> StoreError:
    return StoreError(f"{root}: no folder can be made there; set {VARIABLE} to a folder that can be made")


def location() -> Path:
    """The store's folder, absolute. Raises StoreError when the user has no home folder to put it in."""
    named = os.environ.get(VARIABLE)
    try:
        if named:
            return (_home(named) if named.startswith("~") else Path(named)).absolute()
        if sys.platform == "darwin":
            return _home("~/Library/Caches/sdbuild", there=True)
        caches = os.environ.get("XDG_CACHE_HOME")  # relative ones are to be ignored, says the XDG specification
        folder = Path(caches) if caches and Path(caches).is_absolute() else _home("~/.cache", there=True)
        return folder / "sdbuild"
    except RuntimeError as error:
        raise StoreError(f"no place for the store: {error}; set {VARIABLE} to a folder") from None


def _home(path: str, *, there: bool = False) -> Path:
    """A path below a home folder; ``there``: which must exist, as nobody has named it. Raises RuntimeError."""
    found = Path(path).expanduser()
    if not found.is_absolute():
        raise RuntimeError(f"HOME={os.environ.get('HOME')} is not an absolute path")
    if there and not Path("~").expanduser().is_dir():
        raise RuntimeError(f"the home folder {Path('~').expanduser()} is not there")
    return found
