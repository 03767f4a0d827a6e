"""What an adapter makes of one weight, in float32.

Plain kinds differ from W by s·Δ. With a magnitude m (DoRA: Liu et al., 2024) the weight is W + s·(m·V/‖V‖ − W) with V = W +
Δ: at full strength what was trained, at 0 nothing. m has a number for each output, or for each input, and so has ‖V‖.
"""

from collections.abc import Mapping

import numpy as np

from sdbuild.arrays import Array
from sdbuild.modeling.adapters import kinds
from sdbuild.modeling.adapters.magnitudes import MAGNITUDES, per_output
from sdbuild.modeling.adapters.resolve import Change

_ELEMENTS = 1 << 20
"""Of a difference, computed at a time."""


def add(total: Array, original: Array, change: Change, tensors: Mapping[str, Array], weight: float) -> None:
    """Add ``weight`` times a change to ``total``, a matrix [out, everything else] of float32.

    ``original`` is W, of its own shape; ``tensors`` are the change's, float32.
    """
    rows = kinds.find(change.kind).rows(tensors, original.shape)
    strength = strength_of(change, tensors)
    step = max(1, _ELEMENTS // max(1, total.shape[1]))
    spans = [(start, min(start + step, len(total))) for start in range(0, len(total), step)]
    magnitude = next((name for name in MAGNITUDES if name in tensors), None)
    if magnitude is None:
        for start, end in spans:
            total[start:end] += rows(start, end) * np.float32(weight * strength)
        return
    matrix = original.astype(np.float32).reshape(len(total), -1)
    moved = np.empty_like(matrix)
    for start, end in spans:
        moved[start:end] = matrix[start:end] + rows(start, end) * np.float32(strength)
    factor = _factor(tensors[magnitude], moved.reshape(original.shape), magnitude).astype(np.float32)
    for start, end in spans:
        scaled = moved[start:end] * np.broadcast_to(factor, original.shape).reshape(matrix.shape)[start:end]
        total[start:end] += (scaled - matrix[start:end]) * np.float32(weight)


def strength_of(change: Change, tensors: Mapping[str, Array]) -> float:
    """Alpha over the rank.

    1 without an alpha, and with an alpha of 0, which trainers read as the rank itself; 1 for what has no rank.
    """
    if change.strength is not None:
        return change.strength
    alpha = float(tensors["alpha"].reshape(-1)[0]) if "alpha" in tensors and tensors["alpha"].size else 0.0
    return alpha / change.rank if alpha and change.rank else 1.0


def _factor(magnitude: Array, moved: Array, name: str) -> Array:
    """m/‖V‖, in the shape of one number for each output or for each input."""
    kept = 1 - per_output(name, magnitude.shape, moved.shape)
    axes = tuple(axis for axis in range(moved.ndim) if axis != kept)
    norms = np.sqrt(np.sum(np.square(moved, dtype=np.float64), axis=axes, keepdims=True))
    numbers = magnitude.reshape(norms.shape)
    factor: Array = np.divide(numbers, norms, out=np.ones_like(norms), where=norms > 0)
    return factor
