"""Garbage collection: remove what no recipe in use needs and no build has used for a while.

An artifact is kept for either of two reasons. A recipe that still exists was last built from it; or a build, of whatever
recipe, used it not long ago: recipes are known by their paths, and in a store that several machines and checkouts share, a path
that is not there may be somebody else's. When it was last used is the modification time of its stamp, see ``Store.note_use``; a
build uses all that its results were made of.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from sdbuild.store.artifacts import Store
from sdbuild.store.digest import inode
from sdbuild.store.errors import UNWRITABLE, StoreError, explained, not_removable, unless_unwritable
from sdbuild.store.locks import Lock
from sdbuild.store.records import Records

_HOUR = 3600  # seconds; last uses are noted no finer


@dataclass(frozen=True)
class Collection:
    """What was, or would be, removed and kept. Sizes are bytes on disk, hard links counted once."""

    recipes: tuple[Path, ...]
    """In use: each still exists, or can't be looked for, and was built."""
    gone: tuple[Path, ...]
    """Built once; the file exists no more."""
    needed: int
    """Artifacts that are kept because a recipe in use needs them."""
    recent: int
    """Others that are kept because a build used them not long ago."""
    kept_bytes: int
    unused: int
    """Artifacts that are removed because neither holds, or because they are not whole."""
    over: int
    """Artifacts that are removed because the store would be too large with them."""
    over_needed: int
    """How many of those a recipe in use needs."""
    removed_bytes: int
    held_bytes: int
    """How many of the removed bytes stay on the disk, as hard links from outside hold them."""
    leftover_bytes: int
    """What stopped or failed runs had left and is removed."""
    resumable_bytes: int
    """Not counted above: what such runs left not long ago, for the next attempt to go on from."""


@dataclass(frozen=True)
class _Item:
    """An artifact, or what lies in the place of one."""

    name: tuple[str, str]
    """Stage and key."""
    paths: tuple[Path, ...]
    """Its stamp, if it has one, comes first: once that is gone, there is no artifact."""
    last_use: float | None
    """Seconds since the epoch; None without a stamp."""
    links: tuple[os.stat_result, ...]
    """What its names lead to: a file may have several."""


def collect(store: Store, *, older: float, most: float | None = None, dry: bool) -> Collection:
    """Remove artifacts that no recipe in use needs and no build has used for ``older`` seconds, and what stopped runs left that
    long ago; then all that these left, and other artifacts until at most ``most`` bytes remain, those last that recipes in use
    need.

    The least recently used go first; of those used in the same hour, those that take the least time to make for their size.
    With ``dry`` nothing is removed.

    Raises:
        StoreError: a build is using the store, or what recipes need can't be read: then nothing is removed.
    """
    with explained(store.root):
        if dry:
            with store.in_use() or nullcontext():
                return _collect(store, older, most, dry=True)
        # Its file stays: on a disk that is full, none could be made for the next time.
        try:
            lock = Lock.try_take(store.lock_path("store"), lasting=True)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise not_removable(store.root) from error
        if lock is None:
            raise StoreError(f"a build is running in the store {store.root}: collect garbage when it is done")
        with lock:
            return _collect(store, older, most, dry=False)


def sweep(store: Store) -> None:
    """Remove the work folders of runs that were killed. What they kept for a next attempt stays."""
    with explained(store.root), unless_unwritable():
        for folder in store.root.glob("work/*"):
            lock = Lock.try_take(store.lock_path(folder.name))
            if lock is not None:
                with lock:
                    shutil.rmtree(folder, ignore_errors=True)


def _collect(store: Store, older: float, most: float | None, *, dry: bool) -> Collection:
    records = list(Records(store.root).all())
    used = {record.recipe for _, record in records if _may_exist(record.recipe)}
    needed = {name for _, record in records if record.recipe in used for name in record.names()}
    now = time.time()
    keep: list[_Item] = []
    drop: list[_Item] = []
    for item in _items(store.root):
        used_at = item.last_use
        kept = used_at is not None and (item.name in needed or _within(older, used_at, now))
        (keep if kept else drop).append(item)
    unused = len(drop)
    over = [] if most is None else _beyond(store, keep, most, needed)
    if over:
        names = {item.name for item in over}
        keep = [item for item in keep if item.name not in names]
        drop += over
    left = {path: tuple(_links(path)) for name in ("work", "partial", "logs") for path in store.root.glob(f"{name}/*")}
    resumable = {
        path: found
        for path, found in left.items()
        if path.parent.name != "work" and most is None and any(_within(older, file.st_mtime, now) for file in found)
    }
    if not dry:
        for path in (*(path for item in drop for path in item.paths), *(left.keys() - resumable.keys())):
            _remove(path)
        recent = {item.name for item in keep} - needed
        for path, record in records:
            if record.recipe not in used and not record.names() & recent:
                path.unlink()
    kept_files, removed_files = _byinode(keep), _byinode(drop)
    removed_files = {each: found for each, found in removed_files.items() if each not in kept_files}
    links = Counter(inode(found) for item in drop for found in item.links)
    return Collection(
        recipes=tuple(sorted(used)),
        gone=tuple(sorted(record.recipe for _, record in records if record.recipe not in used)),
        needed=sum(item.name in needed for item in keep),
        recent=sum(item.name not in needed for item in keep),
        kept_bytes=_bytes(kept_files.values()),
        unused=unused,
        over=len(over),
        over_needed=sum(item.name in needed for item in over),
        removed_bytes=_bytes(removed_files.values()),
        held_bytes=_bytes(found for each, found in removed_files.items() if found.st_nlink > links[each]),
        leftover_bytes=_bytes(file for path, found in left.items() if path not in resumable for file in found),
        resumable_bytes=_bytes(file for found in resumable.values() for file in found),
    )


def _may_exist(recipe: Path) -> bool:
    """False only where it surely does not: what lies in another user's folder, say, may."""
    try:
        return stat.S_ISREG(recipe.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _within(seconds: float, last_use: float, now: float) -> bool:
    """A time to come, of a clock that is wrong, counts as now."""
    return max(0.0, now - last_use) < seconds


def _items(root: Path) -> Iterator[_Item]:
    """Everything below ``artifacts``."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(root.glob("artifacts/*/*"), key=lambda path: path.suffix != ".json"):
        found.setdefault((path.parent.name, path.name.removesuffix(".json").removesuffix(".damaged")), []).append(path)
    for name, paths in sorted(found.items()):
        stamped = paths[0].suffix == ".json"
        links = [found for path in paths for found in _links(path)]
        yield _Item(name, tuple(paths), links[0].st_mtime if stamped and links else None, tuple(links))


def _links(path: Path) -> Iterator[os.stat_result]:
    """The status of a file, or of every file below a folder; symlinks count as themselves."""
    pending = [path]
    while pending:
        place = pending.pop()
        try:
            found = place.lstat()
            if stat.S_ISDIR(found.st_mode):
                pending += place.iterdir()
            else:
                yield found
        except FileNotFoundError:  # in a dry run, builds go on meanwhile
            continue


def _beyond(store: Store, items: Sequence[_Item], most: float, needed: Set[tuple[str, str]]) -> list[_Item]:
    """Those of the items to remove so that the rest has at most ``most`` bytes."""

    def rank(item: _Item) -> tuple[bool, float, float]:
        stamp = store.stamp(*item.name)
        effort = stamp.seconds / max(stamp.size, 1) if stamp else 0.0
        return item.name in needed, (item.last_use or 0.0) // _HOUR, effort

    links = Counter(inode(found) for item in items for found in item.links)
    total = _bytes(_byinode(items).values())
    found: list[_Item] = []
    for item in sorted(items, key=rank):
        if total <= most:
            break
        found.append(item)
        for file in item.links:
            links[inode(file)] -= 1
            total -= file.st_size if links[inode(file)] == 0 else 0
    return found


def _byinode(items: Iterable[_Item]) -> dict[tuple[int, int], os.stat_result]:
    return {inode(found): found for item in items for found in item.links}


def _bytes(files: Iterable[os.stat_result]) -> int:
    return sum(found.st_size for found in files)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
