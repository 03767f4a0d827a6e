"""The forms in which a package may hold a weight: ``Dense | Palette | Quantized | Sparse``, one inside the other as MIL allows.

A compression step takes one and returns another; ``constexpr`` writes them. The forms and their nesting are those of the
``constexpr_*`` operations in coremltools 9.0 (converters/mil/mil/ops/defs/iOS16/constexpr_ops.py and iOS18/compression.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sdbuild.arrays import Array

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Codes:
    """Integers of 1 to 8 bits."""

    type: str
    """``uint1``, ``uint2``, ``uint3``, ``uint4``, ``uint6``, ``uint8``, ``int4`` or ``int8``."""
    packed: Array
    """uint8 [bytes]: the codes in C order, from the lowest bit on, across byte borders; the last byte may be padded."""
    shape: Shape

    @property
    def bits(self) -> int:
        """Of a code."""
        return int(self.type.lstrip("uint"))


@dataclass(frozen=True)
class Dense:
    """The numbers themselves."""

    data: Array
    """float16 or float32 [any shape]. Halves may stand for a float32 weight: they are widened on loading."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        return self.data.dtype

    @property
    def shape(self) -> Shape:
        """Of the weight."""
        return tuple(self.data.shape)


@dataclass(frozen=True)
class Palette:
    """An index into a table of values for each element or, with ``vector_axis``, for each run of elements along that axis."""

    indices: Codes
    """Unsigned. Of the weight's shape, divided along ``vector_axis`` by the length of a vector."""
    tables: Array
    """[groups along each axis of the weight, 2**bits, vector]: a group is a block of equal size. Until iOS 17 there is one
    group, and vectors of length 1. float16 or float32; int8 or uint8 inside ``Quantized``."""
    vector_axis: int | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers in the tables."""
        return self.tables.dtype

    @property
    def shape(self) -> Shape:
        """Of what the indices stand for."""
        return self.spread(self.indices.shape)

    def spread(self, shape: Shape) -> Shape:
        """The shape of elements that indices of a shape stand for."""
        sizes = list(shape)
        if self.vector_axis is not None:
            sizes[self.vector_axis if len(sizes) > 1 else 0] *= self.tables.shape[-1]
        return tuple(sizes)


@dataclass(frozen=True)
class Quantized:
    """``scale * (codes - offset)``."""

    codes: Codes | Palette
    """int8, uint8, int4 or uint4, of the weight's shape; or tables of int8 or uint8."""
    scale: Array
    """float16 or float32, of the weight's rank: one for each block of equal size. Until iOS 17 one for all, or for each
    index along one axis."""
    offset: Codes | None = None
    """Of the codes' type and the scale's shape; None: zero."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the products."""
        return self.scale.dtype

    @property
    def shape(self) -> Shape:
        """Of the weight."""
        return self.codes.shape


@dataclass(frozen=True)
class Sparse:
    """Zeros, but for the elements that a mask keeps. Anything but ``Dense`` elements from iOS 18 on."""

    mask: Codes
    """uint1, 1 for what is kept. Of the weight's shape or, over a palette with ``vector_axis``, of that of all its indices."""
    kept: Dense | Palette | Quantized
    """What is kept, in C order [n]; ``tables`` and ``scale`` refer to the weight's own shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return self.kept.dtype

    @property
    def shape(self) -> Shape:
        """Of the weight."""
        inner = self.kept.codes if isinstance(self.kept, Quantized) else self.kept
        return inner.spread(self.mask.shape) if isinstance(inner, Palette) else self.mask.shape


Encoding = Dense | Palette | Quantized | Sparse
