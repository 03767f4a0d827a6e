"""float16 to float32 and back by bits: what NumPy's own conversions give, at several times their speed.

Machine code by numba, which takes a third of a second to import: for large weights alone.
"""

import numpy as np

from sdbuild.arrays import Array
from sdbuild.compiled import compiled

_UP, _DOWN = np.float32(2.0**112), np.float32(2.0**-112)  # from an exponent's bias of 15 to one of 127, and back
_TOP = np.float32(65536)  # as float16 it is infinity, whose bits it has
_PLACES = np.int32(-0x70002000)  # in a float32 of those bits that a float16 has, moved by 13
_MAGNITUDE, _EXPONENT = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
_TOP_BITS = np.uint32((127 + 16) << 23)
_LEAST = np.uint32((127 - 14) << 23)  # 2⁻¹⁴: below it the steps of float16 get no smaller
_COARSE = np.uint32(13 << 23)
_SHIFT, _SIGN_SHIFT, _SIGN = np.uint32(13), np.uint32(16), np.uint32(0x8000)


@compiled
def widen(stored: Array, total: Array) -> None:
    """``stored``, float16 as int16 [n], to ``total``, float32 [n]. NaN becomes an infinity."""
    for i in range(stored.size):
        number = np.float32(np.int32((np.int32(stored[i]) << 13) & _PLACES).view(np.float32) * _UP)
        total[i] = number if abs(number) < _TOP else np.float32(number * _UP)


@compiled
def accumulate(total: Array, difference: Array, factor: np.float32) -> None:
    """Add ``factor`` times ``difference``, float32 [n], to ``total``; product and sum are each rounded to float32."""
    for i in range(total.size):
        total[i] += difference[i] * factor


@compiled
def narrow(total: Array, factor: np.float32, stored: Array) -> None:
    """``factor`` times ``total``, float32 [n], to ``stored``, float16 as uint16 [n]: rounded to nearest, halves to even.

    From 2ᵉ on float16 has steps of 2ᵉ⁻¹⁰, and float32 has these from 2ᵉ⁺¹³ on: what is added to that number and taken off it
    again is rounded. What is too large becomes an infinity, and so does NaN.
    """
    for i in range(total.size):
        bits = np.float32(total[i] * factor).view(np.uint32)
        size = np.uint32(min(np.uint32(bits & _MAGNITUDE), _TOP_BITS))
        coarse = np.uint32(np.uint32(max(np.uint32(size & _EXPONENT), _LEAST)) + _COARSE).view(np.float32)
        rounded = np.float32(((size.view(np.float32) + coarse) - coarse) * _DOWN).view(np.uint32)
        stored[i] = np.uint16((rounded >> _SHIFT) | ((bits >> _SIGN_SHIFT) & _SIGN))
