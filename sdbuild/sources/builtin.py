"""A model that ships with sdbuild."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.base import Progress, SourceFile, digest
from sdbuild.sources.local import LocalSource

_PACKAGE = Path(__file__).resolve().parents[1]


class BuiltinSource(LocalSource):
    """A model inside the package. Small, so that its files are known by content and copied: a store that several
    clones and versions of sdbuild share must not point into one of them.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Nothing is looked at yet."""
        super().__init__(folder, name)
        self.title = name

    def _about(self, path: Path) -> SourceFile:
        with path.open("rb") as content:
            return SourceFile(path.relative_to(self._folder).as_posix(), path.stat().st_size, sha256=digest(content))

    def fetch(self, file: SourceFile, folder: Path, scratch: Path, progress: Progress) -> None:
        """Copy the file."""
        target = folder / file.name
        shutil.copyfile(self._folder / file.path, target)
        with target.open("rb") as content:
            if not file.vouches_for(content):
                raise SourceError(f"{self.name}: {file.path} has changed while it was being built from; build again")
        progress(file.size)


def open_source(facts: Mapping[str, Any], commit: str | None) -> BuiltinSource:
    """The one called ``id``; it has no commits."""
    return BuiltinSource(_PACKAGE / facts["id"] / "model", f"builtin:{facts['id']}")
