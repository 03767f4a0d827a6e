"""A toy: ``kept:NAME`` is the folder NAME in what TOY_MODELS points to."""

import os
from pathlib import Path
from typing import ClassVar, Self

from sdbuild.recipe.source import Source, Trouble


class KeptSource(Source):
    kind: ClassVar[str] = "kept"
    rank: ClassVar[int] = 0
    title: ClassVar[str] = "a kept model"

    @classmethod
    def read(cls, text: str, revision: str | None, folder: Path) -> Self | None:
        return cls(id=text.removeprefix("kept:"), revision=revision) if text.startswith("kept:") else None

    @property
    def folder(self) -> Path:
        return Path(os.environ["TOY_MODELS"]) / self.id

    def problem(self, needs: str) -> Trouble | None:
        return None if (self.folder / needs).is_file() else (f"nobody keeps a model '{self.id}'", ("keep one",))


SOURCE = KeptSource
