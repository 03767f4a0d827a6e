"""LoHa: two products of thin matrices, multiplied element by element (Hyeon-Woo et al., "FedPara", 2021; LyCORIS, 2023).

Of a convolution, the second factor of each product has the kernel; or both have a small tensor between, ``t`` (Tucker).
"""

from collections.abc import Mapping
from math import prod

from sdbuild.arrays import Array
from sdbuild.modeling.adapters.kinds import Rows, Shape, expect
from sdbuild.modeling.adapters.tucker import fits_tucker, tucker

FORMS = (frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),)
MAY = frozenset({"hada_t1", "hada_t2"})
PARAMETER = "weight"
SCALED = True


def rank(shapes: Mapping[str, Shape], weight: Shape) -> int:
    """That of the first product: w_a [out, rank], w_b [rank, in · kernel]; with t [rank, rank, …] w_a is [rank, out]."""
    told = ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
    expect(("hada_t1" in shapes) == ("hada_t2" in shapes), told)
    for number in (1, 2):
        a, b, t = (shapes.get(f"hada_{part}") for part in (f"w{number}_a", f"w{number}_b", f"t{number}"))
        assert a is not None and b is not None
        if t is None:
            expect(len(a) == len(b) == 2 and a == (weight[0], b[0]) and b[1] == prod(weight[1:]), told)
        else:
            expect(fits_tucker(t, a, b, weight), told)
    return shapes["hada_w1_b"][0]


def rows(tensors: Mapping[str, Array], weight: Shape) -> Rows:
    """(w1_a · w1_b) ⊙ (w2_a · w2_b)."""
    if "hada_t1" in tensors:
        factors = [tucker(*(tensors[f"hada_{part}{n}{end}"] for part, end in _PARTS)) for n in (1, 2)]
        whole = (factors[0] * factors[1]).reshape(weight[0], -1)
        return lambda start, end: whole[start:end]
    (a, b), (c, d) = ((tensors[f"hada_w{n}_a"], tensors[f"hada_w{n}_b"]) for n in (1, 2))
    return lambda start, end: (a[start:end] @ b) * (c[start:end] @ d)


_PARTS = (("t", ""), ("w", "_a"), ("w", "_b"))
