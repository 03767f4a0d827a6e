"""An overlay that adds a number to every bias."""

from collections.abc import Collection, Mapping

import numpy as np

from sdbuild.arrays import Array
from sdbuild.modeling.weights import Shapes, Weights
from sdbuild.overlay import Layer

RANK = 50


def lay(weights: Weights, layers: Mapping[str, Layer], model: Shapes) -> Weights:
    by = sum(float((layer.files.path / "by").read_text()) * layer.settings["times"] for layer in layers.values())
    return _Shifted(weights, {name for name in model if name.endswith(".bias")}, by)


class _Shifted:
    def __init__(self, weights: Weights, names: Collection[str], by: float) -> None:
        self.weights, self.shifted, self.by = weights, names, by

    def names(self) -> list[str]:
        return self.weights.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.weights.shape(name)

    def load(self, name: str) -> Array:
        array = self.weights.load(name)
        return array.astype(np.float32) + np.float32(self.by) if name in self.shifted else array

    def check(self, model: Shapes, needed: Collection[str]) -> list[str]:
        return self.weights.check(model, needed)
