"""The loops over the elements of a float16 tensor: count them, look the index of each up, pack the indices.

There are at most 65,536 distinct values, so what comes between, the clustering of the counts, costs the same for a thousand
weights as for a billion.
"""

from typing import Any

import numpy as np

from sdbuild.compiled import compiled
from sdbuild.compress.kmeans import Floats

Codes = np.ndarray[Any, np.dtype[np.uint16]]
Indices = np.ndarray[Any, np.dtype[np.uint8]]

_CODES = 1 << 16
_SIGN = 0x8000  # of a float16; the bits below it are its magnitude, which grows with them
_INFINITE = 0x7C00  # the least magnitude that is no number
_PACKED_TOGETHER = 8  # indices: of any number of bits they fill whole bytes


@compiled
def histogram(codes: Codes, halves: Floats) -> tuple[Codes, Floats, Floats]:
    """Count the values of a float16 tensor.

    Args:
        codes: the tensor's bits, uint16 [outer, span].
        halves: the value of each code, float64 [65536].

    Returns:
        By ascending value, of those that occur: the code (of the two zeros the positive one), the value, float64, and the
        number of elements, float64; nothing where an element is infinite or not a number.
    """
    counts = np.zeros(_CODES, np.int64)
    largest = 0
    for row in codes:
        for code in row:
            counts[code] += 1
            largest = max(largest, code & (_SIGN - 1))
    if largest >= _INFINITE:
        return np.empty(0, np.uint16), np.empty(0), np.empty(0)
    counts[0] += counts[_SIGN]
    used = np.empty(2 * largest + 1, np.uint16)
    values, weights = np.empty(len(used)), np.empty(len(used))
    size = 0
    for step in range(-largest, largest + 1):
        code = _SIGN - step if step < 0 else step
        if counts[code] > 0:
            used[size], values[size], weights[size] = code, halves[code], counts[code]
            size += 1
    return used[:size], values[:size], weights[:size]


@compiled
def look_up(codes: Codes, used: Codes, entries: Indices, indices: Indices) -> None:
    """Fill ``indices``, uint8 like ``codes`` [outer, span], with the entry that belongs to each code of ``used``."""
    entry = np.zeros(_CODES, np.uint8)
    for place in range(len(used)):
        entry[used[place]] = entries[place]
    entry[_SIGN] = entry[0]
    for outer in range(codes.shape[0]):
        for place in range(codes.shape[1]):
            indices[outer, place] = entry[codes[outer, place]]


@compiled
def pack(indices: Indices, bits: int) -> None:
    """Pack indices, uint8 [n], in place: ``bits`` of each from the lowest on; the first ceil(n · bits / 8) bytes hold them."""
    if bits == 8:
        return
    size = len(indices)
    for first in range(0, size, _PACKED_TOGETHER):
        together = np.uint64(0)
        for place in range(min(_PACKED_TOGETHER, size - first)):
            together |= np.uint64(indices[first + place]) << np.uint64(place * bits)
        start = first // _PACKED_TOGETHER * bits
        for byte in range(min(bits, size - start)):
            indices[start + byte] = np.uint8(together & np.uint64(255))
            together >>= np.uint64(8)
