"""Records of builds: which artifacts each recipe last used. They keep those from being collected, and tell what changed.

A record that can't be read keeps garbage collection from removing anything, as nobody knows what it would keep. A build of its
recipe goes on: it writes a damaged one anew, and leaves one of a newer sdbuild as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sdbuild.store.errors import StoreError, explained, unless_unwritable
from sdbuild.store.locks import Lock
from sdbuild.store.stamp import write_atomically

_FORMAT = 1
_LARGEST = 1 << 24  # bytes; one of a recipe with a hundred variants has some 300 kB
_NAME = re.compile("[A-Za-z0-9_-]{1,64}")  # of a stage or a key, which become parts of paths


@dataclass(frozen=True, slots=True)
class Entry:
    """A task's last run in some build of a recipe."""

    stage: str
    key: str
    reason: str = ""
    """Why it ran when it last did."""


@dataclass(frozen=True)
class BuildRecord:
    """What a recipe was last built from: variant ("" without variants) → task → entry."""

    recipe: Path
    builds: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)

    def entry(self, variant: str, task: str) -> Entry | None:
        """A task's entry, if it was ever built."""
        return self.builds.get(variant, {}).get(task)

    def names(self) -> set[tuple[str, str]]:
        """Its artifacts, each by stage and key."""
        return {(entry.stage, entry.key) for tasks in self.builds.values() for entry in tasks.values()}


class UnreadableRecordError(StoreError):
    """A file among the records is none, or is damaged."""


class NewerRecordError(UnreadableRecordError):
    """A record has a format that this version doesn't know."""


class Records:
    """The records in a store."""

    def __init__(self, root: Path) -> None:
        """Those of the store at ``root``."""
        self._root = root

    def read(self, recipe: Path) -> BuildRecord:
        """The record of a recipe; an empty one when it was never built, or when what was noted can't be read."""
        with explained(self._root):
            try:
                return _read(self._path(recipe)) or BuildRecord(recipe)
            except (UnreadableRecordError, PermissionError):
                return BuildRecord(recipe)

    def update(self, recipe: Path, change: Callable[[BuildRecord], BuildRecord]) -> None:
        """Replace a recipe's record by what ``change`` makes of it, unless that is the same, or this user can't write it."""
        path = self._path(recipe)
        with explained(self._root), unless_unwritable():
            try:
                before = _known(path, recipe)
                if change(before) == before:
                    return
                with Lock.take(path.with_suffix(".lock")):
                    data = asdict(change(_known(path, recipe))) | {"format": _FORMAT, "recipe": str(recipe)}
                    data["sha256"] = _digest(data)
                    write_atomically(path, json.dumps(data, indent=1, sort_keys=True) + "\n")
            except NewerRecordError:
                return

    def all(self) -> Iterator[tuple[Path, BuildRecord]]:
        """Every record, with the file it is in.

        Raises:
            StoreError: one can't be read.
        """
        with explained(self._root):
            for path in sorted((self._root / "builds").glob("*.json")):
                if (record := _read(path)) is not None:
                    yield path, record

    def _path(self, recipe: Path) -> Path:
        return self._root / "builds" / f"{hashlib.sha256(os.fsencode(recipe)).hexdigest()[:24]}.json"


def _known(path: Path, recipe: Path) -> BuildRecord:
    """What is noted, or an empty record in place of a damaged one. Raises NewerRecordError."""
    try:
        return _read(path) or BuildRecord(recipe)
    except NewerRecordError:
        raise
    except UnreadableRecordError:
        return BuildRecord(recipe)


def _read(path: Path) -> BuildRecord | None:
    """The record in a file, or None where there is no such file. Raises UnreadableRecordError."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise ValueError
        data = json.loads(path.read_bytes())
        if isinstance(data["format"], int) and data["format"] > _FORMAT:
            raise NewerRecordError(f"{path}: noted by a newer sdbuild, so nothing is removed; upgrade this one")
        return _understood(data)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UnreadableRecordError(
            f"{path}: damaged, or not a record of a build, so nothing is removed; build its recipe again, or remove the file "
            "if that is no more"
        ) from None


def _understood(data: Any) -> BuildRecord:
    """Raises ValueError, KeyError, TypeError or AttributeError where anything is not as `Records.update` writes it."""
    digest = data.pop("sha256", None)  # the first records had none
    if (
        digest not in (None, _digest(data))
        or data.keys() != {"format", "recipe", "builds"}
        or data["format"] != _FORMAT
    ):
        raise ValueError
    recipe = Path(data["recipe"])
    os.fsencode(recipe)
    if not recipe.is_absolute() or "\0" in data["recipe"]:
        raise ValueError
    return BuildRecord(
        recipe,
        {variant: {task: _entry(entry) for task, entry in tasks.items()} for variant, tasks in data["builds"].items()},
    )


def _entry(data: dict[str, Any]) -> Entry:
    entry = Entry(**data)
    if not (_NAME.fullmatch(entry.stage) and _NAME.fullmatch(entry.key) and isinstance(entry.reason, str)):
        raise ValueError
    return entry


def _digest(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
