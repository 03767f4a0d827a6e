"""The weights of a component, wherever they are from: conversion and the originals get them through `open_weights` alone."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from sdbuild.arrays import Array
from sdbuild.modeling import overlays
from sdbuild.modeling.checkpoint import Checkpoint, names_of, weight_files
from sdbuild.overlay import Overlays

Shapes = Mapping[str, tuple[int, ...]]
"""Of a model's parameters, by name."""


class Weights(Protocol):
    """Tensors by the names that a model has for them, read one at a time."""

    def names(self) -> list[str]:
        """Those in the files, sorted; a model may call them otherwise."""

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's, known without reading it. Raises UserError: no such tensor, or of numbers that are no weights."""

    def load(self, name: str) -> Array:
        """A tensor: float16 or float32, C-contiguous, for the caller to keep and change. Raises UserError as `shape` does."""

    def check(self, model: Shapes, needed: Collection[str]) -> list[str]:
        """Compare with the model's parameters before anything large is read; see `Checkpoint.check`."""


@runtime_checkable
class HalfWeights(Protocol):
    """`Weights` that can round what they compute to float16 themselves, a block at a time, in the memory of what they read."""

    def load_half(self, name: str, scale: float) -> Array | None:
        """`Weights.load` times ``scale``, computed in float32 and rounded once to float16, infinite where that is too large;
        None for a tensor of which they compute nothing.
        """


def open_weights(folder: Path, laid: Overlays, model: Shapes) -> Weights:
    """The weight files of a folder with what is laid over them; without an overlay that is the files' own `Checkpoint`.

    ``model``: the shape of each parameter, by which overlays know what they change.

    Raises:
        UserError: a file that can't be read; an overlay that is not for this model.
    """
    weights: Weights = Checkpoint(weight_files(folder), names_of(folder))
    for kind in sorted(laid, key=lambda name: overlays.find(name).RANK):
        weights = overlays.find(kind).lay(weights, laid[kind], model)
    return weights
