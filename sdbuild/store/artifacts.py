"""Artifacts: folders that stages made, found by key and only while they are as they were made.

The layout of a store::

    artifacts/<stage>/<key>/         what the stage wrote, its files read-only
    artifacts/<stage>/<key>.json     its stamp, written last: without it there is no artifact
    artifacts/<stage>/<key>.damaged  instead of the stamp, when other bytes were found in it: what is wrong
    work/<key>/                      an artifact being made
    partial/<key>/                   what a stage keeps for its next attempt
    locks/ logs/ builds/             see ``locks``, ``work`` and ``records``
"""

from __future__ import annotations

import errno
import heapq
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sdbuild.digests import Identity, identity
from sdbuild.errors import one_line
from sdbuild.store.digest import FileRecord, hash_file, part_digest, walk
from sdbuild.store.errors import UNWRITABLE, explained, not_writable
from sdbuild.store.locks import Lock
from sdbuild.store.stamp import Stamp, read_stamp, write_atomically
from sdbuild.store.sync import sync_folder, sync_tree
from sdbuild.store.work import Workplace

_NOTED_AFTER = 3600  # seconds; a build that runs nothing then writes nothing, but for once an hour
_STAMP = "its stamp is damaged, or of another version of sdbuild"
_LARGEST_STAMP = 1 << 22  # bytes; of those that are read to compare with


@dataclass(frozen=True)
class Artifact:
    """A whole artifact."""

    path: Path
    stamp: Stamp

    def digest(self, subpath: str | None = None) -> str | None:
        """The digest of its content, or of a file or folder in it; None when it has no such part."""
        return part_digest(self.stamp.files, subpath)

    def size(self, subpath: str | None = None) -> int:
        """Bytes of all files, or of those below a folder in it."""
        prefix = f"{subpath}/" if subpath else ""
        return sum(file.size for file in self.stamp.files if file.path == subpath or file.path.startswith(prefix))

    def known_digests(self) -> dict[Identity, str]:
        """The digests of its files by what a hard link shares with them."""
        found = {}
        for file in self.stamp.files:
            stat = (self.path / file.path).stat()
            if file.looks_like(stat):
                found[identity(stat)] = file.sha256
        return found


@dataclass(frozen=True)
class Absent:
    """There is no such artifact, or none that is whole."""

    damage: str = ""
    """What is wrong with the one that was there; empty when there was none."""


class Store:
    """A folder of artifacts. Any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        """The store at ``root``, an existing folder."""
        self.root = root

    def look(self, stage: str, key: str) -> Artifact | Absent:
        """The artifact under ``key``, if all its files look as they did when it was made.

        Where size or time differ the content decides: a copied store is as good as the original.

        Raises:
            StoreError: it can't be read.
        """
        with explained(self.root):
            stamp_path = self._stamp_path(stage, key)
            stamp = read_stamp(stamp_path)
            if stamp is None or stamp.key != key:
                return Absent(self._found_damage(stage, key) or (_STAMP if os.path.lexists(stamp_path) else ""))
            path = self._artifact_path(stage, key)
            files = _check(path, stamp)
            if isinstance(files, str):
                return Absent(one_line(files))
            if files == stamp.files:
                return Artifact(path, stamp)
            stamp = replace(stamp, files=files)
            # A read-only store stays usable: the note only saves reading the files again next time.
            with suppress(OSError):
                stamp.write(stamp_path)
            return Artifact(path, stamp)

    def commit(self, work: Workplace, stamp: Stamp) -> Artifact:
        """Take the output of ``work``, which ``stamp`` describes, in among the artifacts.

        It is on the disk when this returns; at no moment, not even with the power gone, is there a stamp beside less.
        """
        path, stamp_path = self._artifact_path(stamp.stage, stamp.key), self._stamp_path(stamp.stage, stamp.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_tree(work.output)
        damage_path = self._damage_path(stamp.stage, stamp.key)
        for former in (stamp_path, path):  # whatever it is: a folder may be where a file should be
            if os.path.lexists(former):
                former.rename(work.folder / f"former-{former.name}")
        work.output.rename(path)
        sync_folder(path.parent)
        stamp.write(stamp_path)
        if os.path.lexists(damage_path):
            damage_path.rename(work.folder / damage_path.name)
        return Artifact(path, stamp)

    def condemn(self, artifact: Artifact, damage: str) -> None:
        """Note that an artifact is not what was made, so that it is made again. Raises OSError where that can't be noted."""
        stage, key = artifact.stamp.stage, artifact.stamp.key
        try:
            write_atomically(self._damage_path(stage, key), f"{damage}\n")
        except OSError as error:
            if error.errno in UNWRITABLE:
                raise
            # A full disk, say: that there is no stamp is what counts.
        self._stamp_path(stage, key).unlink(missing_ok=True)

    def artifacts(self) -> Iterator[Artifact]:
        """All that have a stamp, whether or not they are still whole, in no particular order. Raises StoreError."""
        with explained(self.root):
            paths = list(self.root.glob("artifacts/*/*.json"))
        for path in paths:
            try:
                stamp = read_stamp(path)
            except OSError:  # another user's, or on a bad sector
                continue
            if stamp is not None and (stamp.stage, stamp.key) == (path.parent.name, path.stem):
                yield Artifact(path.with_suffix(""), stamp)

    def stamp(self, stage: str, key: str) -> Stamp | None:
        """What was noted about an artifact, whether or not it is still whole."""
        with explained(self.root):
            return read_stamp(self._stamp_path(stage, key))

    def stamps(self, stage: str, most: int) -> list[Stamp]:
        """What was noted about up to ``most`` artifacts of a stage, the last used first; what is no stamp is left out."""
        with explained(self.root):
            try:
                with os.scandir(self.root / "artifacts" / stage) as entries:
                    found = [entry for entry in entries if entry.name.endswith(".json") and entry.is_file()]
            except FileNotFoundError:
                return []
        used = []
        for entry in found:
            with suppress(OSError):  # it was just removed
                stat = entry.stat()
                if stat.st_size <= _LARGEST_STAMP:
                    used.append((-stat.st_mtime_ns, entry.path))
        stamps = []
        for _, path in heapq.nsmallest(most, used):
            with suppress(OSError):
                if (stamp := read_stamp(Path(path))) is not None:
                    stamps.append(stamp)
        return stamps

    def note_use(self, artifact: Artifact) -> None:
        """A build uses it: its stamp's time says so, to the hour, and keeps it from being collected as garbage for a while."""
        path = self._stamp_path(artifact.stamp.stage, artifact.stamp.key)
        with suppress(OSError):  # a store that this user can't write, or a stamp that was just removed
            if time.time() - path.stat().st_mtime > _NOTED_AFTER:
                os.utime(path)

    def lock_path(self, name: str) -> Path:
        """The file to lock for a key, or for anything else that one process at a time may do."""
        return self.root / "locks" / name

    def in_use(self, on_wait: Callable[[], None] = lambda: None) -> Lock | None:
        """Held by every build while it runs: nothing is removed from the store meanwhile.

        None where this user can neither lock the store nor, then, make anything in it. Such a build only reads, and looks at
        each artifact when it comes to it: should the store's owner collect garbage at that moment, it ends with a message
        that something is not there, and nothing wrong is left.
        """
        with explained(self.root):
            try:
                return Lock.take(self.lock_path("store"), shared=True, on_wait=on_wait)
            except OSError as error:
                if error.errno not in UNWRITABLE:
                    raise
                return None

    def making(self, key: str, on_wait: Callable[[], None]) -> Lock:
        """Held by whoever makes the artifact under ``key``. Raises StoreError where this user can't."""
        try:
            return Lock.take(self.lock_path(key), on_wait=on_wait)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise not_writable(self.root) from error

    def _artifact_path(self, stage: str, key: str) -> Path:
        return self.root / "artifacts" / stage / key

    def _stamp_path(self, stage: str, key: str) -> Path:
        return self.root / "artifacts" / stage / f"{key}.json"

    def _damage_path(self, stage: str, key: str) -> Path:
        return self.root / "artifacts" / stage / f"{key}.damaged"

    def _found_damage(self, stage: str, key: str) -> str:
        try:
            return one_line(self._damage_path(stage, key).read_text(encoding="utf-8").strip())
        except (OSError, ValueError):
            return ""


def _check(path: Path, stamp: Stamp) -> tuple[FileRecord, ...] | str:
    """The files, with the times that they have now, when each is as it was made; else what is damaged."""
    try:
        found = dict(walk(path))
    except FileNotFoundError:
        return "its folder is gone"
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            raise
        return "its folder is none" if error.errno == errno.ENOTDIR else "a link in its folder leads back to it"
    files = []
    for file in stamp.files:
        stat = found.pop(file.path, None)
        if stat is None:
            return f"{file.path} is missing"
        if stat.st_size != file.size:
            return f"{file.path} has {stat.st_size} bytes instead of {file.size}"
        if not file.looks_like(stat) and hash_file(path / file.path) != file.sha256:
            return f"{file.path} was changed"
        files.append(replace(file, mtime_ns=stat.st_mtime_ns))
    if found:
        return f"{min(found)} does not belong there"
    return tuple(files)
