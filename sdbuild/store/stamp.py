"""Stamps: the note beside an artifact that says it is whole, written last."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sdbuild.store.digest import FileRecord, Identity, record_files

_FORMAT = 1


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
    """Bytes of all files."""

    def __post_init__(self) -> None:
        """Fill in the size."""
        object.__setattr__(self, "size", sum(file.size for file in self.files))

    @classmethod
    def of(cls, folder: Path, known: Mapping[Identity, str], **about: Any) -> Stamp:
        """The stamp of a folder as it is now; ``known`` are digests of files that it may have hard links to."""
        return cls(files=record_files(folder, known), **about)

    def write(self, path: Path) -> None:
        """Write to ``path`` so that a reader finds all of it or none."""
        data = {"format": _FORMAT, **asdict(self)}
        write_atomically(path, json.dumps(data, indent=1, sort_keys=True) + "\n")


def read_stamp(path: Path) -> Stamp | None:
    """The stamp at ``path``; None when there is none that can be understood."""
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != _FORMAT:
            return None
        files = tuple(FileRecord(**file) for file in data["files"])
        return Stamp(
            stage=data["stage"],
            key=data["key"],
            ingredients=data["ingredients"],
            files=files,
            seconds=data["seconds"],
            peak_bytes=data["peak_bytes"],
            made_for=data["made_for"],
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by another with this text, as one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
