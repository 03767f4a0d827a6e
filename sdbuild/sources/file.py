"""One file of weights on this machine."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.base import SourceFile
from sdbuild.sources.local import LocalSource


class FileSource(LocalSource):
    """It is linked to, never copied."""

    def __init__(self, place: Path, name: str) -> None:
        """Nothing is looked at yet."""
        super().__init__(place.parent, name)
        self.place, self.single = place, place.name

    @cached_property
    def files(self) -> dict[str, SourceFile]:
        """The file alone, whatever lies beside it."""
        if not self.place.is_file():
            raise SourceError(f"{self.name}: no such file; {self.place} is where it was looked for")
        return {self.place.name: self._about(self.place)}


def open_source(facts: Mapping[str, Any], commit: str | None) -> FileSource:
    """The file in the folder ``path``, absolute, that alone has a state in ``files``; it has no commits."""
    (name,) = facts["files"]
    return FileSource(Path(facts["path"]) / name, facts["id"])
