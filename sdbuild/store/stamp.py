"""Stamps: the note beside an artifact that says it is whole, written last."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sdbuild.digests import Identity
from sdbuild.store.digest import FileRecord, record_files
from sdbuild.store.sync import sync_file, sync_folder

_FORMAT = 2
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Stamp:
    """What is known about an artifact."""

    stage: str
    key: str
    ingredients: dict[str, Any]
    """What the key was computed from."""
    files: tuple[FileRecord, ...]
    seconds: float = 0.0
    """How long the stage took."""
    peak_bytes: int = 0
    """The most memory the stage's process held."""
    made_for: str = ""
    """Recipe and task that it was first made for, for people to read."""
    size: int = field(init=False)
    """Bytes of all files; what lies there under several names counts once."""

    def __post_init__(self) -> None:
        """Fill in the size."""
        contents = {(file.sha256, file.mtime_ns): file.size for file in self.files}
        object.__setattr__(self, "size", sum(contents.values()))

    @classmethod
    def of(cls, folder: Path, known: Mapping[Identity, str], **about: Any) -> Stamp:
        """The stamp of a folder as it is now; ``known`` are digests of files that it may have hard links to."""
        return cls(files=record_files(folder, known), **about)

    def write(self, path: Path) -> None:
        """Write to ``path`` so that a reader finds all of it or none, even after a loss of power."""
        data = {"format": _FORMAT, **asdict(self)}
        write_atomically(
            path, json.dumps({**data, "digest": _digest(data)}, indent=1, sort_keys=True) + "\n", sync=True
        )


def read_stamp(path: Path) -> Stamp | None:
    """The stamp at ``path``; None when there is none, or one that is not as it was written.

    It carries a digest of its own, and lets no file lie outside the artifact.
    """
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != _FORMAT or data.pop("digest") != _digest(data):
            return None
        return Stamp(
            stage=_be(data["stage"], str),
            key=_be(data["key"], str),
            ingredients=_be(data["ingredients"], dict),
            files=tuple(_file(file) for file in _be(data["files"], list)),
            seconds=_be(data["seconds"], float | int),
            peak_bytes=_be(data["peak_bytes"], int),
            made_for=_be(data["made_for"], str),
        )
    except (
        FileNotFoundError,
        NotADirectoryError,
        IsADirectoryError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ):
        return None


def _digest(data: Mapping[str, Any]) -> str:
    """SHA-256 of everything else in a stamp."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _be(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError
    return value


def _file(data: Any) -> FileRecord:
    path, digest = _be(data["path"], str), _be(data["sha256"], str)
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or not _SHA256.fullmatch(digest):
        raise ValueError
    return FileRecord(path, _be(data["size"], int), _be(data["mtime_ns"], int), digest)


def write_atomically(path: Path, text: str, *, sync: bool = False) -> None:
    """Replace a file by another with this text, as one step; with ``sync`` it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        if sync:
            sync_file(new)
        new.replace(path)
        if sync:
            sync_folder(path.parent)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
