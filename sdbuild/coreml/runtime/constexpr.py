"""Decode compressed weights: the ``constexpr_*`` operations of iOS 16 and iOS 18.

Each function takes the operation's arguments by name as NumPy arrays (sub-byte integers one a byte) and returns its
outputs. The arithmetic and rounding are those of coremltools' own decompression, which the tests compare with exactly.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.packing import look_up, unpack_bits

Decoder = Callable[..., tuple[Array, ...]]


class DecodeError(Exception):
    """Arguments that contradict each other; the caller adds the place."""


def _palette(lut: Array, indices: Array) -> Array:
    """Rows of ``lut`` [palettes, vector] by ``indices``, any shape; the vector axis is added at the end."""
    if len(lut) < 256 and indices.size and int(indices.max()) >= len(lut):
        raise DecodeError(f"an index points past the {len(lut)} entries of its lookup table")
    return np.take(lut, indices, axis=0)


def _lut_to_dense(
    indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None
) -> tuple[Array]:
    if shape is not None:  # iOS 16: packed bytes, one palette
        bits = lut.size.bit_length() - 1
        if lut.size not in (2, 4, 16, 64, 256):
            raise DecodeError(f"a lookup table of {lut.size} entries; 2, 4, 16, 64 or 256 are possible")
        count = math.prod(shape.tolist())
        return (look_up(lut, np.ascontiguousarray(indices), bits, count).reshape(shape.tolist()),)
    if lut.ndim != indices.ndim + 2:
        raise DecodeError(f"a lookup table of rank {lut.ndim} for indices of rank {indices.ndim}; two more are needed")
    vector = lut.shape[-1]
    if vector > 1 and vector_axis is None:
        raise DecodeError("a lookup table of vectors needs vector_axis")
    out = np.empty((*indices.shape, vector), lut.dtype)
    for group, part in _blocks(indices.shape, lut.shape[:-2]):
        out[part] = _palette(lut[group], indices[part])
    return (_merge_vector(out, vector_axis),)


def _merge_vector(values: Array, vector_axis: Array | None) -> Array:
    """Spread the last axis (the entries of a palette's vector) over ``vector_axis``."""
    if values.shape[-1] == 1:
        return values[..., 0]
    assert vector_axis is not None  # checked by the callers
    axis = int(vector_axis) % (values.ndim - 1)
    shape = list(values.shape[:-1])
    shape[axis] *= values.shape[-1]
    return np.moveaxis(values, -1, axis + 1).reshape(shape)


def _blocks(shape: tuple[int, ...], groups: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each group's position and the part of a tensor of ``shape`` it covers."""
    if any(size % count for size, count in zip(shape, groups, strict=True)):
        raise DecodeError(f"groups {list(groups)} do not divide the shape {list(shape)}")
    sizes = [size // count for size, count in zip(shape, groups, strict=True)]
    return [
        (position, tuple(slice(p * s, (p + 1) * s) for p, s in zip(position, sizes, strict=True)))
        for position in itertools.product(*map(range, groups))
    ]


def _sparse_to_dense(nonzero_data: Array, mask: Array, shape: Array | None = None) -> tuple[Array]:
    if shape is not None:  # iOS 16: packed bits
        mask = unpack_bits(mask, 1, math.prod(shape.tolist())).reshape(shape.tolist())
    set_bits = int(np.count_nonzero(mask))
    if nonzero_data.ndim != 1 or set_bits != nonzero_data.size:
        raise DecodeError(f"a mask of {set_bits} set bits for {nonzero_data.size} values")
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return (dense,)


def _affine_dequantize(quantized_data: Array, scale: Array, zero_point: Array, axis: Array) -> tuple[Array]:
    def along_axis(parameter: Array) -> Array:
        if parameter.ndim == 0:
            return parameter
        shape = [1] * quantized_data.ndim
        shape[int(axis)] = quantized_data.shape[int(axis)]
        if parameter.size != shape[int(axis)]:
            raise DecodeError(f"{parameter.size} scales or zero points for {shape[int(axis)]} channels")
        return parameter.reshape(shape)

    # int8 − int8 and its product with a float16 are exact in float32: one rounding is left, as in float16 arithmetic.
    values = quantized_data.astype(np.float32)
    values -= along_axis(zero_point).astype(np.float32)
    values *= along_axis(scale).astype(np.float32)
    return (values.astype(scale.dtype, copy=False),)


def _blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> tuple[Array]:
    if data.ndim != scale.ndim or any(size % count for size, count in zip(data.shape, scale.shape, strict=True)):
        raise DecodeError(f"scales of shape {list(scale.shape)} do not divide data of shape {list(data.shape)}")
    if offset is not None and offset.shape != scale.shape:
        raise DecodeError(f"offsets of shape {list(offset.shape)} for scales of shape {list(scale.shape)}")
    paired = [n for size, count in zip(data.shape, scale.shape, strict=True) for n in (count, size // count)]
    spread = [n for count in scale.shape for n in (count, 1)]
    values = data.reshape(paired).astype(np.float32)
    if offset is not None:
        values = values - offset.reshape(spread).astype(np.float32)
        if scale.dtype == np.float16 and offset.dtype == np.float16:
            values = values.astype(np.float16).astype(np.float32)
    values *= scale.reshape(spread).astype(np.float32)
    return (values.reshape(data.shape).astype(scale.dtype, copy=False),)


def _lut_to_sparse(
    indices_mask: Array, indices_nonzero_data: Array, lut: Array, vector_axis: Array | None = None
) -> tuple[Array, Array]:
    (indices,) = _sparse_to_dense(indices_nonzero_data, indices_mask)
    (dense,) = _lut_to_dense(indices, lut, None, vector_axis)
    mask = indices_mask
    if lut.shape[-1] > 1 and vector_axis is not None:
        mask = np.repeat(mask, lut.shape[-1], axis=int(vector_axis))
    return mask, dense[mask != 0]


def _sparse_blockwise_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    (data,) = _sparse_to_dense(nonzero_data, data_mask)
    (dense,) = _blockwise_shift_scale(data, scale, offset)
    return data_mask, dense[data_mask != 0]


def _cast(source_val: Array, output_dtype: Any) -> tuple[Array]:
    if output_dtype != "fp32":
        raise DecodeError(f"a cast to {output_dtype}; only fp32 is possible")
    return (source_val.astype(np.float32),)


DECODERS: dict[str, Decoder] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
