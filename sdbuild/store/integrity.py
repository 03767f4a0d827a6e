"""Whether the bytes in the store are still those that were put there.

A look at sizes and times, as every build takes it, does not see what kept both: a flipped bit, an edit with the time put
back. Files with hard links in several artifacts are read once, and what is wrong with one is wrong with all.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sdbuild.errors import UserError, one_line
from sdbuild.store.artifacts import Artifact, Store
from sdbuild.store.digest import FileRecord, hash_file, inode, walk
from sdbuild.store.errors import UNWRITABLE

_Inode = tuple[int, int]


@dataclass(frozen=True)
class Damage:
    """A file that is not as its artifact's stamp says."""

    artifact: Artifact
    path: str
    """Of the file, relative to the artifact; empty: the artifact itself."""
    what: str
    """Such as "was changed"."""
    inode: _Inode | None = None
    """Of a file that is there."""

    @property
    def place(self) -> Path:
        """On the disk."""
        return self.artifact.path / self.path

    def __str__(self) -> str:
        """A phrase for people."""
        return one_line(f"{self.path or 'its folder'} {self.what}")


@dataclass
class _File:
    """One file on the disk, whatever the number of its names."""

    place: Path
    records: list[tuple[Artifact, FileRecord]] = field(default_factory=list)


def find_damage(
    parts: Iterable[tuple[Artifact, str | None]],
    *,
    linked: bool = True,
    trusted: Collection[_Inode] = (),
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Damage]:
    """Read artifacts, or a file or folder of each, and compare them with their stamps, in the order given.

    Args:
        parts: artifacts, each with a path in it, or None for all of it.
        linked: read also what symlinks lead to, files of the user's outside the store.
        trusted: those of them that are known not to have changed, and need not be read.
        jobs: threads; hashing lets go of Python's lock.
        progress: called with (bytes read, bytes to read).
    """
    found: list[Damage] = []
    files: dict[_Inode, _File] = {}
    for artifact, subpath in parts:
        for record in artifact.stamp.files:
            if subpath and record.path != subpath and not record.path.startswith(f"{subpath}/"):
                continue
            place = artifact.path / record.path
            try:
                if not linked and place.is_symlink():
                    continue
                stat = place.stat()
            except OSError as error:
                found.append(Damage(artifact, record.path, _missing(error)))
                continue
            if inode(stat) in trusted and place.is_symlink():
                continue
            files.setdefault(inode(stat), _File(place)).records.append((artifact, record))
    sizes = {each: file.records[0][1].size for each, file in files.items()}
    total, done = sum(sizes.values()), 0

    def digest(file: _File) -> str | OSError:
        try:
            return hash_file(file.place)
        except OSError as error:
            return error

    with ThreadPoolExecutor(jobs) as pool:
        for (each, file), seen in zip(files.items(), pool.map(digest, files.values()), strict=True):
            done += sizes[each]
            progress(done, total)
            for artifact, record in file.records:
                if isinstance(seen, OSError):
                    found.append(Damage(artifact, record.path, _missing(seen), each))
                elif seen != record.sha256:
                    found.append(Damage(artifact, record.path, "was changed", each))
    return found


def find_strangers(artifact: Artifact) -> list[Damage]:
    """What is in an artifact's folder and not in its stamp."""
    expected = {file.path for file in artifact.stamp.files}
    try:
        return [
            Damage(artifact, path, "does not belong there", inode(stat))
            for path, stat in sorted(walk(artifact.path), key=lambda found: found[0])
            if path not in expected
        ]
    except FileNotFoundError:  # which `find_damage` says better
        return []
    except OSError as error:
        return [Damage(artifact, "", f"can't be read ({os.strerror(error.errno or 0)})", _inode(artifact.path))]


def condemn(store: Store, damages: Iterable[Damage]) -> list[Artifact]:
    """Note of the artifacts damaged, and of all others that share a damaged file, that they must be made again.

    Returns them; those that were made again since they were read are not among them. Raises OSError where it can't be noted,
    in a store of another user's.
    """
    wrong: dict[Path, tuple[Artifact, list[str]]] = {}
    inodes: dict[str, set[_Inode]] = defaultdict(set)
    for damage in damages:
        if _inode(damage.place) != damage.inode:  # the file that was read is no more
            continue
        wrong.setdefault(damage.artifact.path, (damage.artifact, []))[1].append(str(damage))
        for file in damage.artifact.stamp.files:
            if file.path == damage.path and damage.inode is not None:
                inodes[file.sha256].add(damage.inode)
    for artifact in store.artifacts() if inodes else ():
        for file in artifact.stamp.files:
            if artifact.path not in wrong and _inode(artifact.path / file.path) in inodes.get(file.sha256, ()):
                wrong[artifact.path] = (artifact, [f"{file.path} was changed"])
    for artifact, texts in wrong.values():
        store.condemn(artifact, ", ".join(texts[:_MOST]) + (f" and {len(texts) - _MOST} more" if texts[_MOST:] else ""))
    return [artifact for artifact, _ in wrong.values()]


def set_aside(store: Store, damages: Iterable[Damage]) -> str:
    """Condemn artifacts, so that they are made again; what is wrong, in a phrase. Raises UserError where it can't be noted."""
    damages = list(damages)
    what = "; ".join(f"{damage.artifact.stamp.stage}: {damage}" for damage in damages[:_MOST])
    try:
        condemn(store, damages)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"damaged in the store: {what}. It can't be made again there ({error.strerror}): its owner may run "
            "`doit check`, or set SDBUILD_STORE to a folder of your own"
        ) from error
    return what


_MOST = 3  # files named


def _inode(path: Path) -> _Inode | None:
    try:
        return inode(path.stat())
    except OSError:
        return None


def _missing(error: OSError) -> str:
    return "is missing" if isinstance(error, FileNotFoundError) else f"can't be read ({os.strerror(error.errno or 0)})"
