"""Records of builds: which artifacts each recipe last used. They keep those from being collected, and tell what changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sdbuild.store.errors import explained
from sdbuild.store.locks import Lock
from sdbuild.store.stamp import write_atomically

_FORMAT = 1


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


class Records:
    """The records in a store."""

    def __init__(self, root: Path) -> None:
        """Those of the store at ``root``."""
        self._root = root

    def read(self, recipe: Path) -> BuildRecord:
        """The record of a recipe; an empty one when it was never built."""
        with explained(self._root):
            return _read(self._path(recipe)) or BuildRecord(recipe)

    def update(self, recipe: Path, change: Callable[[BuildRecord], BuildRecord]) -> None:
        """Replace a recipe's record by what ``change`` makes of it, unless that is the same."""
        with explained(self._root):
            path = self._path(recipe)
            if change(before := _read(path) or BuildRecord(recipe)) == before:
                return
            with Lock.take(path.with_suffix(".lock")):
                data = asdict(change(_read(path) or BuildRecord(recipe)))
                data |= {"format": _FORMAT, "recipe": str(recipe)}
                write_atomically(path, json.dumps(data, indent=1, sort_keys=True) + "\n")

    def all(self) -> Iterator[tuple[Path, BuildRecord]]:
        """Every record, with the file it is in."""
        with explained(self._root):
            for path in sorted((self._root / "builds").glob("*.json")):
                if (record := _read(path)) is not None:
                    yield path, record

    def _path(self, recipe: Path) -> Path:
        return self._root / "builds" / f"{hashlib.sha256(str(recipe).encode()).hexdigest()[:24]}.json"


def _read(path: Path) -> BuildRecord | None:
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != _FORMAT:
            return None
        builds = {
            variant: {task: Entry(**entry) for task, entry in tasks.items()}
            for variant, tasks in data["builds"].items()
        }
        return BuildRecord(Path(data["recipe"]), builds)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
