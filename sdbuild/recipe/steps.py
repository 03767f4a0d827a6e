"""Compression steps, as a recipe writes them: `- palettize: {bits: 6}`.

A new step is a class for its options, one more field of Step, and its code in `sdbuild/compress/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from sdbuild.recipe.fields import WHOLE, Strict, wrong
from sdbuild.recipe.problems import allowed, suggestion
from sdbuild.recipe.targets import FEATURES

Bits = Annotated[Literal[1, 2, 3, 4, 6, 8], WHOLE]
Granularity = Literal["per_tensor", "per_grouped_channel"]
_GROUP = 32  # channels; coremltools' own, as is the next
_MIN_ELEMENTS = 2048

# The operations that sdbuild writes with weights of two axes or more, by what a recipe may call them: MIL's own names.
_OPERATIONS = ("add", "conv", "gather", "linear", "matmul", "mul")


def _operation(name: str) -> str:
    if name not in _OPERATIONS:
        raise wrong(
            f"'{name}' is not a type of operation with weights", *suggestion(name, _OPERATIONS), allowed(_OPERATIONS)
        )
    return name


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
    min_elements: int | None = Field(
        default=None,
        ge=0,
        le=2**40,
        description="Leave tensors with fewer elements alone (coremltools' weight_threshold); default: 2048.",
    )


class PaletteOverride(_Palettes):
    """What differs for some weights; what is not said is as in the step around it."""


_OperationName = Annotated[
    str, AfterValidator(_operation), WithJsonSchema({"type": "string", "enum": list(_OPERATIONS)})
]


class Palettize(_Palettes):
    """Store each weight as an index into a small table of values, found by k-means."""

    bits: Bits = Field(
        description="Bits of an index: tables of 2, 4, 8, 16, 64 or 256 values (3 bits: from iOS18 / macOS15 on)."
    )
    embeddings: bool = Field(default=False, description="Also palettize the tables that token ids are looked up in.")
    op_types: dict[_OperationName, PaletteOverride | None] = Field(
        default={},
        description="What differs for the weights of a type of operation; null leaves them alone.",
        examples=[{"conv": {"bits": 8}}],
    )
    op_names: dict[str, PaletteOverride | None] = Field(
        default={},
        description="What differs for constants or operations of a name in the package, * and ? stand for anything; "
        "wins over op_types.",
        examples=[{"conv_in_weight_to_fp16": {"bits": 8}}],
    )
    parameters: dict[str, PaletteOverride | None] = Field(
        default={},
        description="What differs for parameters of a name in PyTorch, * and ? stand for anything; wins over op_names.",
        examples=[{"mid_block.*": {"bits": 8}}],
    )

    @model_validator(mode="after")
    def _groups_have_a_size(self) -> Palettize:
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

    def _everywhere(self) -> Iterator[tuple[tuple[str, ...], _Palettes]]:
        """What is said of all weights and of some, each with its place."""
        yield (), self
        for place, override in self._overrides().items():
            if override is not None:
                yield place, override

    def _overrides(self) -> dict[tuple[str, ...], PaletteOverride | None]:
        levels = {"op_types": self.op_types, "op_names": self.op_names, "parameters": self.parameters}
        return {(level, key): override for level, overrides in levels.items() for key, override in overrides.items()}

    def features(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Keys of `targets.FEATURES` that a system must have, each with the place of the option that asks for it."""
        yield "palettes", ()
        for place, options in self._everywhere():
            if options.bits == 3:
                yield "three_bit_palettes", (*place, "bits")
            if options.granularity == "per_grouped_channel":
                yield "grouped_palettes", (*place, "granularity")

    def _has_groups(self) -> bool:
        """Whether any weight may have tables for groups of its channels."""
        return any(name == "grouped_palettes" for name, _ in self.features())

    def settings(self) -> dict[str, Any]:
        """Every option with its default filled in, as the compress stage takes them; of an override what it says."""
        levels = {
            level: {key: override and override.model_dump(exclude_none=True) for key, override in overrides.items()}
            for level in ("op_types", "op_names", "parameters")
            if (overrides := getattr(self, level))
        }
        own: dict[str, Any] = {
            "bits": self.bits,
            "granularity": self.granularity or "per_tensor",
            "exact": bool(self.exact),
            "embeddings": self.embeddings,
            "min_elements": _MIN_ELEMENTS if self.min_elements is None else self.min_elements,
        }
        if self._has_groups():
            own["group_size"] = self.group_size or _GROUP
        if self.axis is not None:
            own["axis"] = self.axis
        return own | levels

    def embedding_bits(self, full: int) -> int:
        """Of the indices of embeddings; `full` where they are left alone."""
        if "gather" not in self.op_types:
            return self.bits if self.embeddings else full
        override = self.op_types["gather"]
        return full if override is None else override.bits or self.bits

    def bits_used(self, full: int) -> list[int]:
        """The bits of all indices, ascending, among them `full` where weights are left alone by an override."""
        overrides = self._overrides().values()
        return sorted({self.bits, *(full if each is None else each.bits or self.bits for each in overrides)})


def _one_step(schema: dict[str, Any]) -> None:
    """In JSON Schema: exactly one key, and something under it."""
    schema |= {"minProperties": 1, "maxProperties": 1}
    for name, field in schema["properties"].items():
        schema["properties"][name] = {"description": field["description"], **field["anyOf"][0]}


class Step(Strict):
    """One compression step: a mapping with one key, which names it."""

    model_config = ConfigDict(json_schema_extra=_one_step)

    palettize: Palettize | None = Field(default=None, description="Replace weights by indices into a table of values.")

    @model_validator(mode="after")
    def _one_key(self) -> Step:
        if len(self.model_fields_set) != 1 or self.palettize is None:
            raise wrong("a step is a mapping with one key, its name", "write for example: - palettize: {bits: 6}")
        return self

    @property
    def kind(self) -> str:
        """The step's name: the key."""
        return next(iter(self.model_fields_set))

    @property
    def options(self) -> Palettize:
        """What stands under the key."""
        options: Palettize = getattr(self, self.kind)
        return options


def _later(features: tuple[str, ...], instead: str) -> str:
    known = " and ".join(f"{FEATURES[name].title} (from {FEATURES[name].since} on)" for name in features)
    return f"this version of sdbuild does not build {known}; {instead}"


# What coremltools can do and sdbuild can't yet: (key,) or (key, value) → an honest answer
NOT_YET: dict[tuple[object, ...], str] = {
    ("cluster_dim",): _later(("vector_palettes",), "remove the key"),
    ("prune",): _later(("sparse", "sparse_palettes"), "palettize instead"),
    ("quantize",): _later(("int8", "int4", "blockwise"), "palettize with 8 or 4 bits instead"),
}
