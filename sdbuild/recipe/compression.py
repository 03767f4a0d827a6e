"""What a recipe says under `compress`: a list of steps for each component, and what they come to together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, create_model, model_validator

from sdbuild.recipe import steps
from sdbuild.recipe.fields import Strict, wrong
from sdbuild.recipe.step import Options, Storage
from sdbuild.recipe.targets import FEATURES


def _one_step(schema: dict[str, Any]) -> None:
    """In JSON Schema: exactly one key, and something under it."""
    schema |= {"minProperties": 1, "maxProperties": 1}
    for name, field in schema["properties"].items():
        schema["properties"][name] = {"description": field["description"], **field["anyOf"][0]}


class Step(Strict):
    """One compression step: a mapping with one key, which names it."""

    model_config = ConfigDict(json_schema_extra=_one_step)

    @model_validator(mode="after")
    def _one_key(self) -> Step:
        if len(self.model_fields_set) != 1 or getattr(self, self.kind) is None:
            raise wrong("a step is a mapping with one key, its name", "write for example: - palettize: {bits: 6}")
        return self

    @property
    def kind(self) -> str:
        """The step's name: the key."""
        return next(iter(self.model_fields_set))

    @property
    def options(self) -> Options[Any]:
        """What stands under the key."""
        options: Options[Any] = getattr(self, self.kind)
        return options


if not TYPE_CHECKING:  # with a field for each step that there is
    _FOUND = {name: steps.find(name) for name in steps.names()}
    Step = create_model(
        "Step",
        __base__=Step,
        __doc__=Step.__doc__,
        __module__=__name__,
        **{name: (found | None, Field(default=None, description=found.__doc__)) for name, found in _FOUND.items()},
    )


def unfold(steps: Iterable[Step], full: int) -> Iterator[tuple[Step, Storage]]:
    """Each step, with how weights of `full` bits are stored before it."""
    before = Storage(full)
    for step in steps:
        yield step, before
        before = step.options.after(before)


def compressed(steps: Iterable[Step], full: int) -> tuple[Storage, Storage]:
    """How weights of `full` bits are stored after all steps, and how embeddings are."""
    weights = embeddings = Storage(full)
    for step in steps:
        weights, embeddings = step.options.after(weights), step.options.after_of_embeddings(embeddings)
    return weights, embeddings


def label(steps: Iterable[Step], full: int) -> str:
    """What the steps make of weights of `full` bits, in a few words."""
    return " + ".join(step.options.label(full) for step in steps) or str(full)


def _later(features: tuple[str, ...], instead: str) -> str:
    known = " and ".join(f"{FEATURES[name].title} (from {FEATURES[name].since} on)" for name in features)
    return f"this version of sdbuild does not build {known}; {instead}"


# What coremltools can do and sdbuild can't yet: (key,) or (key, value) → an honest answer
NOT_YET: dict[tuple[object, ...], str] = {
    ("cluster_dim",): _later(("vector_palettes",), "remove the key"),
    ("prune",): _later(("sparse", "sparse_palettes"), "palettize instead"),
    ("quantize",): _later(("int8", "int4", "blockwise"), "palettize with 8 or 4 bits instead"),
}
