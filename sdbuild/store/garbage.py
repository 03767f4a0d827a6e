"""Garbage collection: remove what no recipe that still exists was last built from."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sdbuild.store.artifacts import Store
from sdbuild.store.errors import StoreError, explained
from sdbuild.store.locks import Lock
from sdbuild.store.records import Records


@dataclass(frozen=True)
class Collection:
    """What was, or would be, removed and kept. Sizes are bytes on disk, hard links counted once."""

    recipes: tuple[Path, ...]
    """In use: each still exists and was built."""
    gone: tuple[Path, ...]
    """Built once; the file exists no more."""
    kept: int
    kept_bytes: int
    removed: int
    removed_bytes: int
    leftover_bytes: int
    """What stopped or failed runs had left."""


def collect(store: Store, *, dry: bool) -> Collection:
    """Remove artifacts that no recipe in use needs, and what stopped runs left; with ``dry`` only tell.

    Raises:
        StoreError: a build is using the store.
    """
    with explained(store.root):
        lock = Lock.try_take(store.lock_path("store"))
        if lock is None:
            raise StoreError(f"a build is running in the store {store.root}: collect garbage when it is done")
        with lock:
            return _collect(store, dry=dry)


def sweep(store: Store) -> None:
    """Remove the work folders of runs that were killed. What they kept for a next attempt stays."""
    with explained(store.root):
        for folder in store.root.glob("work/*"):
            lock = Lock.try_take(store.lock_path(folder.name))
            if lock is not None:
                with lock:
                    shutil.rmtree(folder, ignore_errors=True)


def _collect(store: Store, *, dry: bool) -> Collection:
    recipes: list[Path] = []
    gone: list[Path] = []
    roots: set[str] = set()
    for path, record in Records(store.root).all():
        if record.recipe.is_file():
            recipes.append(record.recipe)
            roots.update(entry.key for tasks in record.builds.values() for entry in tasks.values())
        else:
            gone.append(record.recipe)
            if not dry:
                path.unlink()
    keep: list[Path] = []
    drop: list[Path] = []
    for path in sorted(store.root.glob("artifacts/*/*")):
        stamped = path.suffix == ".json" or path.with_name(f"{path.name}.json").is_file()
        (keep if path.stem in roots and stamped else drop).append(path)
    left = [folder for name in ("work", "partial", "logs") for folder in sorted(store.root.glob(f"{name}/*"))]
    seen: set[tuple[int, int]] = set()
    kept_bytes, removed_bytes, leftover_bytes = (_disk_usage(paths, seen) for paths in (keep, drop, left))
    if not dry:
        for path in (*drop, *left):
            _remove(path)
    return Collection(
        recipes=tuple(sorted(recipes)),
        gone=tuple(sorted(gone)),
        kept=sum(path.suffix != ".json" for path in keep),
        kept_bytes=kept_bytes,
        removed=sum(path.suffix != ".json" for path in drop),
        removed_bytes=removed_bytes,
        leftover_bytes=leftover_bytes,
    )


def _disk_usage(paths: Iterable[Path], seen: set[tuple[int, int]]) -> int:
    """Bytes of files that were not yet ``seen``; what symlinks lead to is not counted."""
    total = 0
    for path in paths:
        for file in (path, *path.rglob("*")):
            stat = file.lstat()
            if not file.is_dir() and (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_size
    return total


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
