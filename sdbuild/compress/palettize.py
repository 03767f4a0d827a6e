"""Palettes: a tensor as a short table of values and an index for each element."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sdbuild.compress.kmeans import cluster
from sdbuild.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]

_GROUP = 8
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Palette:
    """A palettized tensor.

    ``table`` is float16 [2**bits]; ``packed`` uint8 holds an index of ``bits`` bits for each element in C order, from the
    lowest bit on, across byte borders; the last byte may be padded.
    """

    bits: int
    table: Array
    packed: Array


def palettize(tensor: Array, bits: int, name: str) -> Palette:
    """Palettize a float16 tensor of any shape with one table for all of it.

    Raises:
        UserError: a tensor that holds infinities or NaNs; ``name`` tells which.
    """
    codes = tensor.reshape(-1).view(np.uint16)
    counts = np.zeros(1 << 16, np.int64)
    for start in range(0, len(codes), _CHUNK):
        counts += np.bincount(codes[start : start + _CHUNK], minlength=1 << 16)
    used = np.flatnonzero(counts)
    values = used.astype(np.uint16).view(np.float16).astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(
            f"compress: {name} holds infinities or NaNs, which no palette can hold; check the model's weights"
        )
    order = np.argsort(values, kind="stable")
    centres = cluster(values[order], counts[used][order].astype(np.float64), 1 << bits)
    table = np.sort(centres.astype(np.float16))
    table = np.concatenate([table, np.full((1 << bits) - len(table), table[-1], np.float16)])
    exact = table.astype(np.float64)
    nearest = np.zeros(1 << 16, np.uint8)
    nearest[used] = np.searchsorted((exact[1:] + exact[:-1]) / 2, values)
    return Palette(bits, table, _packed(codes, nearest, bits))


def _packed(codes: Array, nearest: Array, bits: int) -> Array:
    """Look up the index of every code and pack eight indices at a time into ``bits`` bytes."""
    out = np.empty(-(-len(codes) // _GROUP) * bits, np.uint8)
    shifts = (np.arange(_GROUP) * bits).astype(np.uint64)
    for start in range(0, len(codes), _CHUNK):
        indices = nearest[codes[start : start + _CHUNK]]
        indices = np.concatenate([indices, np.zeros(-len(indices) % _GROUP, np.uint8)])
        groups = np.bitwise_or.reduce(indices.reshape(-1, _GROUP).astype(np.uint64) << shifts, axis=1)
        packed = groups.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :bits].reshape(-1)
        first = start // _GROUP * bits
        out[first : first + len(packed)] = packed
    return out[: -(-len(codes) * bits // 8)]
