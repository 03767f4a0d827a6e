"""quantize: linear integers with a scale for each output channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from sdbuild.recipe.fields import WHOLE, Strict
from sdbuild.recipe.step import Options, Override, Place, Storage


class _Linear(Strict):
    bits: Annotated[Literal[4, 8], WHOLE] | None = Field(default=None, description="Bits of a weight; default: 8.")


class QuantizeOverride(Override, _Linear):
    """What differs for some weights."""


class Quantize(Options[QuantizeOverride], _Linear):
    """Store each weight as a multiple of its channel's scale."""

    version: ClassVar = 7
    tools: ClassVar = ("numpy",)
    example: ClassVar = {"bits": 4}

    def features(self, before: Storage) -> Iterator[tuple[str, Place]]:
        for place, options in {(): self, **self.overrides()}.items():
            if options is not None and options.bits == 4:
                yield "int4", (*place, "bits")
        yield "int8", ()

    def own_settings(self) -> dict[str, Any]:
        return {"bits": self.bits or 8}

    def after(self, before: Storage, override: QuantizeOverride | None = None) -> Storage:
        return replace(before, bits=(override and override.bits) or self.bits or 8, coded="quantized")

    def label(self, full: int) -> str:
        return f"{self.bits or 8} (linear)"


STEP = Quantize
