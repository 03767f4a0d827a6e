"""Digests of files and folders that depend on names and contents alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sdbuild.digests import Identity, identity


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of an artifact: what it held, and what a look at the disk should show while it still does."""

    path: str
    """Relative, with forward slashes."""
    size: int
    mtime_ns: int
    """Of the file that a symlink leads to."""
    sha256: str

    def looks_like(self, stat: os.stat_result) -> bool:
        """Size and modification time are as recorded. The time of the last status change is not asked:
        making a hard link to a file changes it."""
        return stat.st_size == self.size and stat.st_mtime_ns == self.mtime_ns


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below ``folder`` as (relative path, status), in no particular order.

    Symlinks are followed; those that lead nowhere are left out.
    """
    pending = [("", str(folder))]
    while pending:
        prefix, place = pending.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir():
                    pending.append((f"{prefix}{entry.name}/", entry.path))
                    continue
                try:
                    yield prefix + entry.name, entry.stat()
                except FileNotFoundError:
                    continue


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inode(stat: os.stat_result) -> tuple[int, int]:
    """Equal for two hard links to a file, whatever became of it."""
    return stat.st_dev, stat.st_ino


def record_files(folder: Path, known: Mapping[Identity, str] | None = None) -> tuple[FileRecord, ...]:
    """Read every file below ``folder``, once where it has several names; the digests of files in ``known`` are taken from there
    instead.
    """
    records, seen = [], dict(known or {})
    for path, stat in sorted(walk(folder)):
        digest = seen[identity(stat)] = seen.get(identity(stat)) or hash_file(folder / path)
        records.append(FileRecord(path, stat.st_size, stat.st_mtime_ns, digest))
    return tuple(records)


def part_digest(files: Iterable[FileRecord], subpath: str | None) -> str | None:
    """The digest of a whole artifact, or of one file or folder in it; None when there is no such part.

    A folder's digest covers the paths below it, not its own name.
    """
    prefix = f"{subpath}/" if subpath else ""
    digest = hashlib.sha256(b"tree\0")
    found = subpath is None
    for file in sorted(files, key=lambda file: file.path):
        if file.path == subpath:
            return file.sha256
        if file.path.startswith(prefix):
            found = True
            digest.update(f"{file.path[len(prefix) :]}\0{file.sha256}\n".encode(errors="surrogateescape"))
    return digest.hexdigest() if found else None
