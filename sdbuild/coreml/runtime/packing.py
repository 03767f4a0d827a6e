"""Integers of fewer than eight bits, packed from the lowest bit of each byte and across byte borders."""

import math

import numpy as np

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
    groups = used.reshape(runs, run)
    if run == 1:
        word = groups[:, 0]
    else:
        word = groups[:, 0] | groups[:, 1].astype(np.uint32) << 8 | groups[:, 2].astype(np.uint32) << 16
    values = np.empty((runs, per_run), np.uint8)
    for position in range(per_run):
        values[:, position] = (word >> (position * bits)) & ((1 << bits) - 1)
    return values.reshape(-1)[:count]
