"""What an adapter makes of one weight, in float32.

Plain kinds differ from W by s·Δ. With a magnitude m (DoRA: Liu et al., 2024) the weight is W + s·(m·V/‖V‖ − W) with V = W +
Δ: at full strength what was trained, at 0 nothing. m has a number for each output, or for each input, and so has ‖V‖.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sdbuild.arrays import Array
from sdbuild.modeling.adapters import kinds
from sdbuild.modeling.adapters.kinds import Rows, Shape
from sdbuild.modeling.adapters.magnitudes import MAGNITUDES, per_output
from sdbuild.modeling.adapters.resolve import Change

_ELEMENTS = 3 << 16
"""Of a difference, computed at a time: with the sum they stay in a processor's cache, and take less than what the C library
maps, and so clears, each time it is asked for."""
_LARGE = 1 << 18
"""Elements of a weight for which `halves` is worth being imported."""


@dataclass(frozen=True)
class Part:
    """A change of a weight, read from its file."""

    change: Change
    tensors: Mapping[str, Array]
    """float32."""
    weight: float
    """How much it counts."""


def merge(original: Array, parts: Sequence[Part]) -> Array:
    """The sum, float32, in the shape of ``original``."""
    total = original.astype(np.float32).reshape(len(original), -1)
    for part in parts:
        if (magnitude := _magnitude(part)) is not None:
            _add_scaled(total, original, part, magnitude)
            continue
        rows, factor = _rows(part, original.shape)
        for start, end in _spans(total):
            total[start:end] += rows(start, end) * factor
    return total.reshape(original.shape)


def merge_half(original: Array, parts: Sequence[Part], scale: float) -> Array:
    """The sum times ``scale``, in float32, rounded once to float16: in the memory of ``original`` where it can be."""
    if original.dtype != np.float16 or original.size < _LARGE or any(_magnitude(part) for part in parts):
        return _rounded(merge(original, parts), scale)
    from sdbuild.modeling.adapters.halves import accumulate, narrow, widen

    matrix, differences = original.reshape(len(original), -1), [_rows(part, original.shape) for part in parts]
    spans = _spans(matrix)
    buffer = np.empty(spans[0][1] * matrix.shape[1], np.float32)
    for start, end in spans:
        stored = matrix[start:end].reshape(-1)
        total = buffer[: stored.size]
        widen(stored.view(np.int16), total)
        for rows, factor in differences:
            accumulate(total, np.ascontiguousarray(rows(start, end)).reshape(-1), factor)
        narrow(total, np.float32(scale), stored.view(np.uint16))
    return original


def _rounded(total: Array, scale: float) -> Array:
    total *= np.float32(scale)
    with np.errstate(over="ignore"):  # what is too large becomes an infinity, and is refused as such
        return total.astype(np.float16)


def _rows(part: Part, shape: Shape) -> tuple[Rows, np.float32]:
    """A difference, and what it is to be multiplied by."""
    rows = kinds.find(part.change.kind).rows(part.tensors, shape)
    return rows, np.float32(part.weight * strength_of(part.change, part.tensors))


def _spans(matrix: Array) -> list[tuple[int, int]]:
    step = max(1, _ELEMENTS // max(1, matrix.shape[1]))
    return [(start, min(start + step, len(matrix))) for start in range(0, len(matrix), step)]


def _magnitude(part: Part) -> str | None:
    return next((name for name in MAGNITUDES if name in part.tensors), None)


def _add_scaled(total: Array, original: Array, part: Part, magnitude: str) -> None:
    rows = kinds.find(part.change.kind).rows(part.tensors, original.shape)
    strength = np.float32(strength_of(part.change, part.tensors))
    matrix = original.astype(np.float32).reshape(len(total), -1)
    moved = np.empty_like(matrix)
    for start, end in _spans(matrix):
        moved[start:end] = matrix[start:end] + rows(start, end) * strength
    factor = _factor(part.tensors[magnitude], moved.reshape(original.shape), magnitude).astype(np.float32)
    factors = np.broadcast_to(factor, original.shape).reshape(matrix.shape)
    for start, end in _spans(matrix):
        total[start:end] += (moved[start:end] * factors[start:end] - matrix[start:end]) * np.float32(part.weight)


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
