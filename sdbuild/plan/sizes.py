"""How large things become, before any of them is made: good enough to see whether the disk will do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sdbuild.plan.sources import place_of, weight_bytes_of
from sdbuild.recipe import Component, Recipe
from sdbuild.recipe.compression import Step
from sdbuild.recipe.sizes import weight_bytes
from sdbuild.recipe.source import Source

SMALL = 5_000_000
"""Bytes allowed for an artifact without weights."""

_HALF = 2  # bytes of a weight in the files that are downloaded, which hold float16 where there is a choice
_USUAL = (0.7, 2.5)  # how far from nominal, in bytes, the files of a model of the family's usual size are


@dataclass(frozen=True)
class Expected:
    """A guess, in bytes."""

    size: int
    """Of the files of an artifact."""
    disk: int
    """What they take: nothing where files are links to others that are there anyway."""


class Estimates:
    """The guesses for the components of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        """Nothing was looked up yet."""
        self._recipe = recipe
        self._scales: dict[tuple[str, str], float] = {}

    def download(self, component: Component) -> Expected:
        """The weight files of the component's folder; local ones are linked to."""
        size = int(self._nominal(component) * self._scale(component))
        return Expected(size, size if self._source(component).remote else 0)

    def package(self, component: Component, steps: Iterable[Step]) -> Expected:
        """A component's package."""
        size = int(weight_bytes(component, steps) * self._scale(component))
        return Expected(size, size)

    def parameters(self, component: Component) -> int | None:
        """The number of weights; None for a model that is not of its family's usual size."""
        return component.parameters if self._scale(component) == 1 else None

    def _source(self, component: Component) -> Source:
        return self._recipe.model.named[place_of(self._recipe, component)[0]]

    def _nominal(self, component: Component) -> int:
        """Bytes of the weight files in the component's place, which other components of its source may share."""
        components, place = self._recipe.family.components.values(), place_of(self._recipe, component)
        return _HALF * sum(each.parameters for each in components if place_of(self._recipe, each) == place)

    def _scale(self, component: Component) -> float:
        """How many times larger than usual this model is: local ones may be far smaller than their family's."""
        source = self._source(component)
        if source.remote:
            return 1
        place = place_of(self._recipe, component)
        if place not in self._scales:
            files = weight_bytes_of(source, component.folder, self._recipe.model.variant)
            ratio = files / self._nominal(component)
            self._scales[place] = 1 if _USUAL[0] <= ratio <= _USUAL[1] else ratio
        return self._scales[place]
