"""Learned embeddings: new rows at the end of a text encoder's table of tokens."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from sdbuild.arrays import Array
from sdbuild.modeling.embeddings import read_rows
from sdbuild.overlay import Layer

if TYPE_CHECKING:
    from sdbuild.modeling.weights import Shapes, Weights

RANK = 100  # behind what changes weights as the files have them
_TABLE = "embeddings.token_embedding.weight"


def lay(weights: "Weights", layers: Mapping[str, Layer], model: "Shapes") -> "Weights":
    """The layers' rows behind those of the files, in the order of the layers' names.

    The model's table has as many rows as both together.
    """
    (table,) = (name for name in model if name.endswith(_TABLE))
    rows = [read_rows(layers[name].files.path) for name in sorted(layers)]
    return _Grown(weights, table, np.concatenate(rows))


class _Grown:
    """Weights of which one tensor has rows more than in the files."""

    def __init__(self, weights: "Weights", table: str, rows: Array) -> None:
        self._weights, self._table, self._rows = weights, table, rows

    def names(self) -> list[str]:
        return self._weights.names()

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self._weights.shape(name)
        return (shape[0] + len(self._rows), *shape[1:]) if name == self._table else shape

    def load(self, name: str) -> Array:
        array = self._weights.load(name)
        return np.concatenate([array, self._rows]) if name == self._table else array

    def check(self, model: "Shapes", needed: Collection[str]) -> list[str]:
        rows, *width = model[self._table]
        return self._weights.check({**model, self._table: (rows - len(self._rows), *width)}, needed)
