"""A convolution's kernel from a small one and two matrices, as LoHa and LoKr have it (Tucker's decomposition)."""

import numpy as np

from sdbuild.arrays import Array

Shape = tuple[int, ...]


def tucker(t: Array, a: Array, b: Array) -> Array:
    """t [i, j, …], a [i, out], b [j, in] → [out, in, …]."""
    made: Array = np.einsum("ij...,ip,jr->pr...", t, a, b, optimize=True)
    return made


def fits_tucker(t: Shape, a: Shape, b: Shape, weight: Shape) -> bool:
    """Whether they make a kernel [out, in, …]."""
    return len(a) == len(b) == 2 and t == (a[0], b[0], *weight[2:]) and (a[1], b[1]) == weight[:2]
