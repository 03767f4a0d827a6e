"""thin: the smallest weights become zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from sdbuild.recipe.fields import Strict
from sdbuild.recipe.step import Options, Override, Place, Storage


class _Share(Strict):
    keep: float | None = Field(default=None, gt=0, lt=1, description="The share of weights to keep; default: half.")


class ThinOverride(Override, _Share):
    """What differs for some weights."""


class Thin(Options[ThinOverride], _Share):
    """Keep the largest weights."""

    version: ClassVar = 1
    tools: ClassVar = ("numpy",)
    example: ClassVar = {"keep": 0.25}

    def features(self, before: Storage) -> Iterator[tuple[str, Place]]:
        yield "sparse", ()

    def own_settings(self) -> dict[str, Any]:
        return {"keep": self.keep or 0.5}

    def after(self, before: Storage, override: ThinOverride | None = None) -> Storage:
        return replace(before, kept=(override and override.keep) or self.keep or 0.5)

    def label(self, full: int) -> str:
        return f"{self.keep or 0.5:.0%} (sparse)"


STEP = Thin
