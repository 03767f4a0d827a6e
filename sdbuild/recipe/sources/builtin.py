"""A model that ships with sdbuild: ``builtin:shapes``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import ClassVar, Self

from sdbuild.recipe.problems import allowed, suggestion
from sdbuild.recipe.source import Source, Trouble

_MODELS = ("shapes",)
_LORAS = ("shapes/night",)
_PREFIX = "builtin:"
_PACKAGE = Path(__file__).resolve().parents[2]


class BuiltinSource(Source):
    """Its files are part of the package."""

    kind: ClassVar[str] = "builtin"
    rank: ClassVar[int] = 0
    title: ClassVar[str] = "a built-in model"
    shipped: ClassVar[bool] = True

    @classmethod
    def read(cls, text: str, revision: str | None, folder: Path) -> Self | None:
        """By its prefix."""
        return cls(id=text.removeprefix(_PREFIX), revision=revision) if text.startswith(_PREFIX) else None

    @property
    def name(self) -> str:
        """As a recipe writes it."""
        return f"{_PREFIX}{self.id}"

    @property
    def folder(self) -> Path:
        """Inside the package."""
        return _folder(self.id)

    def problem(self, needs: str) -> Trouble | None:
        """There must be one of that name."""
        names = _MODELS if needs else _LORAS
        if self.id in names:
            return None
        known = [f"{_PREFIX}{name}" for name in names]
        return f"no built-in {'model' if needs else 'LoRA'} '{self.id}'", (
            *suggestion(self.name, known),
            allowed(known),
        )


@functools.cache
def _folder(name: str) -> Path:
    return _PACKAGE / name / "model"


SOURCE = BuiltinSource
