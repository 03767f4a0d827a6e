"""Palettes: a tensor as short tables of values and an index for each element."""

from dataclasses import dataclass
from math import prod

import numpy as np

from sdbuild.arrays import Array
from sdbuild.compress.kmeans import Floats, cluster
from sdbuild.compress.lookup import histogram, look_up, pack
from sdbuild.errors import SourceError

_HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
"""The value of each float16 by its bits."""


@dataclass(frozen=True)
class Palette:
    """A palettized tensor.

    ``tables`` has the tensor's data type and shape [groups, 2**bits], each row ascending: group ``g`` is the ``g``-th of as
    many equal runs of the tensor's ``axis``. ``packed`` is uint8 and holds an index of ``bits`` bits for each element in C
    order, from the lowest bit on, across byte borders; the last byte may be padded.
    """

    bits: int
    tables: Array
    packed: Array
    axis: int


def palette_bytes(tensor: Array, bits: int, axis: int = 0, group_size: int | None = None) -> int:
    """What the tables and indices that ``palettize`` would make of a tensor take; its content is not looked at."""
    groups = 1 if group_size is None else tensor.shape[axis] // group_size
    return groups * tensor.itemsize * (1 << bits) + -(-tensor.size * bits // 8)


def palettize(
    tensor: Array, bits: int, name: str, *, axis: int = 0, group_size: int | None = None, exact: bool = False
) -> Palette:
    """Palettize a float16 or float32 tensor of any shape.

    Args:
        tensor: C-contiguous, or it is copied.
        bits: 1 to 8, of an index.
        name: of the tensor, for messages.
        axis: which ``group_size`` counts along.
        group_size: how many neighbours along ``axis`` share a table, a divisor of their number; None: one table for all.
        exact: find the best tables there are; else, far sooner, tables as good to a thousandth (see `cluster`).

    Raises:
        UserError: a tensor that holds infinities or NaNs; ``name`` tells which.
    """
    shape = tensor.shape
    groups = 1 if group_size is None else shape[axis] // group_size
    outer = 1 if group_size is None else prod(shape[:axis])
    grouped = np.ascontiguousarray(tensor).reshape(outer, groups, -1)
    grouped.setflags(write=False)  # as mapped files are: loops are compiled for one kind of array
    indices = np.empty(grouped.shape, np.uint8)
    tables = np.empty((groups, 1 << bits), tensor.dtype)
    encode = _encode_halves if tensor.dtype == np.float16 else _encode_singles
    for group in range(groups):
        if not encode(grouped[:, group], exact, tables[group], indices[:, group]):
            raise SourceError(
                f"compress: {name} holds infinities or NaNs, which no palette can hold; check the model's weights"
            )
    flat = indices.reshape(-1)
    pack(flat, bits)
    return Palette(bits, tables, flat[: -(-tensor.size * bits // 8)], axis)


def _encode_halves(group: Array, exact: bool, table: Array, indices: Array) -> bool:
    """Fill ``table`` and ``indices`` [outer, span] for a float16 group of that shape; False if it is not finite."""
    codes = group.view(np.uint16)
    used, values, counts = histogram(codes, _HALVES)
    if len(values) == 0:
        return False
    borders = _fill(table, cluster(values, counts, len(table), exact))
    look_up(codes, used, np.searchsorted(borders, values).astype(np.uint8), indices)
    return True


def _encode_singles(group: Array, exact: bool, table: Array, indices: Array) -> bool:
    """As ``_encode_halves``, for float32: too many values for a histogram, so they are sorted."""
    values, counts = np.unique(group, return_counts=True)
    if not np.isfinite(values[[0, -1]]).all():
        return False
    borders = _fill(table, cluster(values.astype(np.float64), counts.astype(np.float64), len(table), exact))
    indices[...] = np.searchsorted(borders, group)
    return True


def _fill(table: Array, centres: Floats) -> Floats:
    """Put centres into a table, the last one again where there are too few; returns the borders between them, float64.

    What lies on a border belongs to the lower of its neighbours.
    """
    table[: len(centres)] = centres
    table[len(centres) :] = table[len(centres) - 1]
    rounded = table[: len(centres)].astype(np.float64)
    borders: Floats = (rounded[1:] + rounded[:-1]) / 2
    return borders
