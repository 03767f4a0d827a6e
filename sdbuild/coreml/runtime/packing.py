"""Integers of fewer than eight bits, packed from the lowest bit of each byte and across byte borders."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.program import SUB_BYTE_BITS


def packed_bytes(dtype: str, count: int) -> int:
    """How many bytes ``count`` elements of a sub-byte type take."""
    return -(-count * SUB_BYTE_BITS[dtype] // 8)


def unpack(data: Array, dtype: str, count: int) -> Array:
    """The first ``count`` elements of a sub-byte type in packed bytes, one a byte: uint8, or int8 for int4.

    Raises:
        ValueError: ``data`` (uint8 [bytes]) is too short.
    """
    bits = SUB_BYTE_BITS[dtype]
    values = unpack_bits(data, bits, count)
    return ((values ^ 8).astype(np.int8) - 8) if dtype == "int4" else values


def unpack_bits(data: Array, bits: int, count: int) -> Array:
    """``count`` unsigned integers of ``bits`` bits (1, 2, 3, 4, 6 or 8) from packed bytes, as uint8 [count]."""
    if data.size * 8 < count * bits:
        raise ValueError(f"{data.size} bytes cannot hold {count} integers of {bits} bits")
    if bits == 8:
        return data[:count]
    # The shortest run of bytes that holds whole integers: one byte, or three for 3 and 6 bits.
    run = math.lcm(bits, 8) // 8
    per_run = run * 8 // bits
    runs = -(-count // per_run)
    used = data[: runs * run]
    if used.size < runs * run:
        used = np.concatenate([used, np.zeros(runs * run - used.size, np.uint8)])
    values = np.empty((runs, per_run), np.uint8)
    for start in range(0, runs, _BLOCK):
        block = slice(start, start + _BLOCK)
        groups = used[start * run : (start + _BLOCK) * run].reshape(-1, run)
        word = groups[:, 0]
        if run == 3:
            word = groups[:, 0] | groups[:, 1].astype(np.uint32) << 8 | groups[:, 2].astype(np.uint32) << 16
        for position in range(per_run):
            values[block, position] = (word >> (position * bits)) & ((1 << bits) - 1)
    return values.reshape(-1)[:count]


def look_up(table: Array, data: Array, bits: int, count: int) -> Array:
    """``table[unpack_bits(data, bits, count)]``, of a table of 2**bits entries, five times as fast.

    As many indices as fill 8 bits (12 for 3 and 6 bits) are looked up at once, in a table of all their combinations; what
    lies between packed bytes and entries stays within a processor's own cache.
    """
    width = math.lcm(bits, 4) if bits in (3, 6) else 8
    per_code, per_run = width // bits, math.lcm(width, 8) // bits
    whole = count // per_run
    if not whole or data.size * 8 < count * bits:
        return np.asarray(table[unpack_bits(data, bits, count)])
    codes = np.arange(1 << width)
    rows = np.stack([table[codes >> bits * place & ((1 << bits) - 1)] for place in range(per_code)], axis=1)
    moved = min(16, rows.itemsize * per_code)
    words = torch.from_numpy(rows.view(np.uint8)).view(_WORDS[moved])
    values = np.empty(count, table.dtype)
    filled = torch.from_numpy(values.view(np.uint8))[: whole * per_run * table.itemsize]
    out = filled.view(words.dtype).reshape(whole * _CODES[width], words.shape[1])

    @torch.inference_mode()  # which is a matter of each thread
    def fill(start: int) -> None:
        end = min(start + _BLOCK, whole)
        found = torch.from_numpy(_codes(data, width, start, end))
        if words.shape[1] == 1:  # torch is quickest along one axis
            torch.index_select(words[:, 0], 0, found, out=out[start * _CODES[width] : end * _CODES[width], 0])
        else:
            torch.index_select(words, 0, found, out=out[start * _CODES[width] : end * _CODES[width]])

    starts = range(0, whole, _BLOCK)
    with ThreadPoolExecutor(min(torch.get_num_threads(), max(1, len(starts)))) as pool:
        list(pool.map(fill, starts))
    rest = data[whole * per_run * bits // 8 :]
    values[whole * per_run :] = table[unpack_bits(rest, bits, count - whole * per_run)]
    return values


_BLOCK = 1 << 15
"""Runs of bytes that are unpacked at once."""

_CODES = {8: 1, 12: 2}
"""Codes of a width in the shortest run of bytes that holds whole ones."""

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
"""What torch moves so many bytes at once as."""


def _codes(data: Array, width: int, start: int, end: int) -> Array:
    """The codes in runs of packed bytes, int32."""
    if width == 8:
        return data[start:end].astype(np.int32)
    codes = np.empty((end - start, 2), np.int32)
    for place, offset in enumerate((0, 1)):  # the first code begins a run of three bytes, the second ends it
        pairs = np.ndarray((end - start,), "<u2", data, 3 * start + offset, (3,))
        if place:
            np.right_shift(pairs, 4, out=codes[:, 1], casting="unsafe")
        else:
            np.bitwise_and(pairs, 0xFFF, out=codes[:, 0], casting="unsafe")
    return codes.reshape(-1)
