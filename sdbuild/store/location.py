"""Where the store lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sdbuild.store.artifacts import Store
from sdbuild.store.errors import StoreError, explained
from sdbuild.store.trust import check_trust

VARIABLE = "SDBUILD_STORE"


def open_store() -> Store:
    """The store that the environment names, made if there is none: ``SDBUILD_STORE``, else a cache folder of the user's.

    Recipes and clones share it.

    Raises:
        StoreError: it can't be made, listed, is something else, or others may write there.
    """
    root = location()
    if not root.name:
        raise StoreError(f"{VARIABLE}={root}: name a folder for the store, not the root of the disk")
    with explained(root):
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileNotFoundError:  # its parent is a place that takes no folders, such as /proc
            raise StoreError(
                f"{root}: no folder can be made there; set {VARIABLE} to a folder that can be made"
            ) from None
        next(root.iterdir(), None)
        check_trust(root)
    return Store(root)


def location() -> Path:
    """The store's folder, absolute. Raises StoreError when the user has no home folder to put it in."""
    named = os.environ.get(VARIABLE)
    try:
        if named:
            return Path(named).expanduser().absolute()
        if sys.platform == "darwin":
            return Path("~/Library/Caches/sdbuild").expanduser().absolute()
        caches = os.environ.get("XDG_CACHE_HOME")  # relative ones are to be ignored, says the XDG specification
        folder = Path(caches) if caches and Path(caches).is_absolute() else Path("~/.cache").expanduser()
        return (folder / "sdbuild").absolute()
    except RuntimeError as error:
        raise StoreError(f"no place for the store: {error}; set {VARIABLE} to a folder") from None
