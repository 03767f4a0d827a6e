"""palettize: each weight as an index into a table of values."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sdbuild.recipe.fields import WHOLE, Strict, wrong
from sdbuild.recipe.step import Options, Override, Place, Storage

Bits = Annotated[Literal[1, 2, 3, 4, 6, 8], WHOLE]
Granularity = Literal["per_tensor", "per_grouped_channel"]
_GROUP = 32  # channels; coremltools' own


class _Palettes(Strict):
    """What can be said of all weights, and of some."""

    bits: Bits | None = Field(default=None, description="Bits of an index.")
    granularity: Granularity | None = Field(
        default=None,
        description="What shares a table of values: a whole tensor (the default), or a group of its output channels "
        "(from iOS18 / macOS15 on).",
    )
    group_size: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="With per_grouped_channel: how many channels share a table; default: 32. Where it does not divide the "
        "channels, the largest number that divides both.",
    )
    axis: int | None = Field(
        default=None,
        ge=0,
        le=4,
        description="With per_grouped_channel: the axis of the channels; default: the output channels of the operation "
        "that takes the weight, as in coremltools.",
    )
    exact: bool | None = Field(
        default=None,
        description="Find the very best tables, which takes many times as long; otherwise (the default) their squared "
        "error, on weights as models have them, is within a thousandth of the best.",
    )


class PaletteOverride(Override, _Palettes):
    """What differs for some weights; what is not said is as in the step around it."""


class Palettize(Options[PaletteOverride], _Palettes):
    """Store each weight as an index into a small table of values, found by k-means."""

    version: ClassVar = 1
    tools: ClassVar = ("numpy", "numba")
    example: ClassVar = {"bits": 8}

    bits: Bits = Field(
        description="Bits of an index: tables of 2, 4, 8, 16, 64 or 256 values (3 bits: from iOS18 / macOS15 on)."
    )

    @model_validator(mode="after")
    def _groups_have_a_size(self) -> Self:
        for place, options in self._everywhere():
            granularity = options.granularity or self.granularity or "per_tensor"
            if not place and self._has_groups():  # said once for all overrides that have groups
                continue
            for key in ("group_size", "axis"):
                if getattr(options, key) is not None and granularity == "per_tensor":
                    where = f" of '{place[1]}' under {place[0]}" if place else ""
                    note = "add granularity: per_grouped_channel, or remove the key"
                    raise wrong(f"{key}{where} is for groups of channels", note)
        return self

    def _everywhere(self) -> Iterator[tuple[Place, _Palettes]]:
        """What is said of all weights and of some, each with its place."""
        yield (), self
        for place, override in self.overrides().items():
            if override is not None:
                yield place, override

    def _has_groups(self) -> bool:
        """Whether any weight may have tables for groups of its channels."""
        return any(options.granularity == "per_grouped_channel" for _, options in self._everywhere())

    def features(self, before: Storage) -> Iterator[tuple[str, Place]]:
        """Some bits and groups came later, and tables of what pruning left."""
        yield "palettes", ()
        if before.kept < 1:
            yield "sparse_palettes", ()
        for place, options in self._everywhere():
            if options.bits == 3:
                yield "three_bit_palettes", (*place, "bits")
            if options.granularity == "per_grouped_channel":
                yield "grouped_palettes", (*place, "granularity")

    def own_settings(self) -> dict[str, Any]:
        """A size of groups is none where there are no groups."""
        own: dict[str, Any] = {
            "bits": self.bits,
            "granularity": self.granularity or "per_tensor",
            "exact": bool(self.exact),
        }
        if self._has_groups():
            own["group_size"] = self.group_size or _GROUP
        if self.axis is not None:
            own["axis"] = self.axis
        return own

    def after(self, before: Storage, override: PaletteOverride | None = None) -> Storage:
        """Indices; the tables are not counted: of usual groups they take a hundredth."""
        return replace(before, bits=(override and override.bits) or self.bits, coded="palettized")

    def label(self, full: int) -> str:
        """The bits of all indices, ascending."""
        bits = {self.bits, *(full if each is None else each.bits or self.bits for each in self.overrides().values())}
        return f"{', '.join(map(str, sorted(bits)))} (palettes)"


STEP = Palettize
