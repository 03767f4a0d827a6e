"""A single file in a repository of the model hub: ``org/name/file.safetensors``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from sdbuild.recipe.source import SINGLE_FILES, Source, Trouble
from sdbuild.recipe.sources.hub import HubSource

_FILE = re.compile(rf"[^/:]+/[^/:]+/.+(?:{'|'.join(map(re.escape, SINGLE_FILES))})", re.IGNORECASE)


@dataclass(frozen=True)
class HubFileSource(HubSource):
    """An id, and the path of a file behind it; of the repository nothing else is downloaded."""

    kind: ClassVar[str] = "hub_file"
    rank: ClassVar[int] = 50
    title: ClassVar[str] = "a file of the hub"
    single: ClassVar[bool] = True

    @classmethod
    def read(cls, text: str, revision: str | None, folder: Path) -> Self | None:  # type: ignore[override]
        """By its suffix."""
        return cls(id=text, revision=revision) if _FILE.fullmatch(text) else None

    def problem(self, needs: str) -> Trouble | None:
        """What stands before the file must look like an id."""
        organisation, name, path = self.id.split("/", 2)
        if any(part in ("", ".", "..") for part in path.split("/")):
            return f"'{self.id}' is no file of the hub", ("its path has neither empty parts nor dots alone",)
        repository: Source = HubSource(id=f"{organisation}/{name}", revision=self.revision)
        return repository.problem(needs)


SOURCE = HubFileSource
