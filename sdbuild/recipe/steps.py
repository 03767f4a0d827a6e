"""Compression steps, as a recipe writes them: `- palettize: {bits: 6}`.

A new step is a class for its options, one more field of Step, and its code in `sdbuild/compress/`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from sdbuild.recipe.fields import Strict, wrong
from sdbuild.recipe.targets import FEATURES


class Palettize(Strict):
    """Store each weight as an index into a small table of values, found by k-means."""

    bits: Literal[1, 2, 4, 6, 8] = Field(
        description="Bits of an index: a table of 2, 4, 16, 64 or 256 values for each weight tensor."
    )
    granularity: Literal["per_tensor"] = Field(default="per_tensor", description="What shares a table: a whole tensor.")
    embeddings: bool = Field(default=False, description="Also palettize the tables that token ids are looked up in.")
    min_elements: int = Field(
        default=2048,
        ge=0,
        le=2**40,
        description="Leave tensors with fewer elements alone (coremltools' weight_threshold).",
    )

    @property
    def features(self) -> tuple[str, ...]:
        """Keys of `targets.FEATURES` that a system must have."""
        return ("palettes",)


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
    ("granularity", "per_grouped_channel"): _later(("grouped_palettes",), "write per_tensor, or leave it out"),
    ("group_size",): _later(("grouped_palettes",), "remove the key"),
    ("cluster_dim",): _later(("vector_palettes",), "remove the key"),
    ("bits", 3): _later(("three_bit_palettes",), "take 2 or 4 bits"),
    ("prune",): _later(("sparse", "sparse_palettes"), "palettize instead"),
    ("quantize",): _later(("int8", "int4", "blockwise"), "palettize with 8 or 4 bits instead"),
}
