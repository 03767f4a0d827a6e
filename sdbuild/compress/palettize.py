"""Palettes: a tensor as short tables of values and an index for each element."""

from math import prod

import numpy as np

from sdbuild.arrays import Array
from sdbuild.compress.kmeans import Floats, cluster
from sdbuild.compress.lookup import histogram, look_up, pack
from sdbuild.coreml.encodings import Codes, Dense, Palette, Shape, Sparse
from sdbuild.errors import SourceError

_HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
"""The value of each float16 by its bits."""


def palette_bytes(numbers: Array, bits: int, groups: int = 1) -> int:
    """What so many tables, and an index for each of the numbers, take; their values are not looked at."""
    return groups * numbers.itemsize * (1 << bits) + -(-numbers.size * bits // 8)


def _palette(bits: int, tables: Array, indices: Array, shape: Shape, rank: int, axis: int) -> Palette:
    """A palette of ``tables`` [groups, 2**bits], of a weight of that rank; ``indices``, a byte each, are packed in place."""
    flat = indices.reshape(-1)
    pack(flat, bits)
    codes = Codes(f"uint{bits}", flat[: -(-flat.size * bits // 8)], shape)
    groups = [len(tables) if each == axis else 1 for each in range(rank)]
    return Palette(codes, tables.reshape(*groups, 1 << bits, 1))


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

    Returns:
        Each table's entries ascend; group ``g`` is the ``g``-th of equal runs of ``axis``.
    """
    shape = tensor.shape
    groups = 1 if group_size is None else shape[axis] // group_size
    outer = 1 if group_size is None else prod(shape[:axis])
    grouped = np.ascontiguousarray(tensor).reshape(outer, groups, -1)
    grouped.setflags(write=False)  # as mapped files are: loops are compiled for one kind of array
    indices = np.empty(grouped.shape, np.uint8)
    tables = np.empty((groups, 1 << bits), tensor.dtype)
    for group in range(groups):
        _encode(grouped[:, group], exact, tables[group], indices[:, group], name)
    return _palette(bits, tables, indices, shape, len(shape), axis)


def palettize_kept(
    sparse: Sparse, bits: int, name: str, *, axis: int = 0, group_size: int | None = None, exact: bool = False
) -> Sparse:
    """As ``palettize``, of the elements that a sparse tensor keeps: a table knows nothing of the zeros between them."""
    assert isinstance(sparse.kept, Dense)
    kept, shape = sparse.kept.data, sparse.shape
    groups = 1 if group_size is None else shape[axis] // group_size
    group_of = _groups_of_kept(sparse, axis, group_size or shape[axis])
    indices = np.empty(kept.shape, np.uint8)
    tables = np.zeros((groups, 1 << bits), kept.dtype)
    for group in range(groups):
        chosen = group_of == group
        values = kept[chosen].reshape(1, -1)
        found = np.empty(values.shape, np.uint8)
        if values.size:
            values.setflags(write=False)
            _encode(values, exact, tables[group], found, name)
        indices[chosen] = found[0]
    return Sparse(sparse.mask, _palette(bits, tables, indices, kept.shape, len(shape), axis))


def _groups_of_kept(sparse: Sparse, axis: int, group_size: int) -> Array:
    """Which group each element that is kept belongs to, uint16 [kept]."""
    shape = sparse.shape
    mask = np.unpackbits(sparse.mask.packed, count=prod(shape), bitorder="little").reshape(shape)
    group_of: Array = (np.arange(shape[axis]) // group_size).astype(np.uint16)
    along = [-1 if each == axis else 1 for each in range(len(shape))]
    found: Array = np.broadcast_to(group_of.reshape(along), shape)[mask != 0]
    return found


def _encode(group: Array, exact: bool, table: Array, indices: Array, name: str) -> None:
    """Fill ``table`` and ``indices`` [outer, span] for a group of that shape."""
    encode = _encode_halves if group.dtype == np.float16 else _encode_singles
    if not encode(group, exact, table, indices):
        raise SourceError(
            f"compress: {name} holds infinities or NaNs, which no palette can hold; check the model's weights"
        )


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
