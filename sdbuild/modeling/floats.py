"""Floating-point numbers as safetensors files hold them, as NumPy arrays: without torch, and with torch's results."""

from collections.abc import Callable
from functools import cache

import numpy as np

from sdbuild.arrays import Array


def _from_float64(content: Array) -> Array:
    with np.errstate(over="ignore"):  # what is too large becomes an infinity, and is refused as such
        return content.view("<f8").astype(np.float32)


def _from_bfloat16(content: Array) -> Array:
    """The upper half of a float32."""
    return (content.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _from_float8_e5m2(content: Array) -> Array:
    """The upper half of a float16."""
    return (content.astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def _from_float8_e4m3(content: Array) -> Array:
    return _float8_e4m3()[content]


@cache
def _float8_e4m3() -> Array:
    """All 256 of the kind that has no infinities ("fn"): a sign, 4 bits of exponent with a bias of 7, 3 of fraction.

    Micikevicius et al., "FP8 formats for deep learning", 2022.
    """
    codes = np.arange(256)
    exponent, fraction = (codes >> 3) & 15, codes & 7
    size = np.where(exponent == 0, fraction * 2.0**-9, (8 + fraction) * 2.0 ** (exponent - 10.0))
    size[codes & 127 == 127] = np.nan
    return np.where(codes & 128, -size, size).astype(np.float32)


_DECODERS: dict[str, Callable[[Array], Array]] = {
    "F64": _from_float64,
    "F32": lambda content: content.view("<f4"),
    "F16": lambda content: content.view("<f2"),
    "BF16": _from_bfloat16,
    "F8_E4M3": _from_float8_e4m3,
    "F8_E5M2": _from_float8_e5m2,
}
"""By the format's names, as `sdbuild.sources.leftovers.WEIGHT_TYPES` has them."""


def decoded(content: Array, dtype: str) -> Array:
    """The numbers in ``content``, uint8 [bytes], flat: float16 stays float16 and float32 float32, all else becomes float32."""
    return _DECODERS[dtype](content)
