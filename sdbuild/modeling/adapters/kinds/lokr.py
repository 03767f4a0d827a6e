"""LoKr: a Kronecker product, of which either factor may be a product of thin matrices itself (LyCORIS, 2023)."""

from collections.abc import Mapping
from math import prod

import numpy as np

from sdbuild.arrays import Array
from sdbuild.modeling.adapters.kinds import Rows, Shape, alike, expect
from sdbuild.modeling.adapters.tucker import tucker

_W1 = (frozenset({"lokr_w1"}), frozenset({"lokr_w1_a", "lokr_w1_b"}))
_W2 = (
    frozenset({"lokr_w2"}),
    frozenset({"lokr_w2_a", "lokr_w2_b", "lokr_t2"}),
    frozenset({"lokr_w2_a", "lokr_w2_b"}),
)
FORMS = tuple(one | other for one in _W1 for other in _W2)
MAY: frozenset[str] = frozenset()
PARAMETER = "weight"
SCALED = True


def rank(shapes: Mapping[str, Shape], weight: Shape) -> int:
    """That of the second factor, or else of the first; 0 where both are whole: their strength is 1, whatever alpha says."""
    told = ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
    first = shapes.get("lokr_w1") or _product(shapes["lokr_w1_a"], shapes["lokr_w1_b"])
    expect(first is not None and len(first) == 2, told)
    assert first is not None
    t, kernel = shapes.get("lokr_t2"), weight[2:]
    if "lokr_w2" in shapes:
        second: Shape | None = shapes["lokr_w2"]
    elif t is None:
        second = _product(shapes["lokr_w2_a"], shapes["lokr_w2_b"])
    else:
        a, b = shapes["lokr_w2_a"], shapes["lokr_w2_b"]
        fits = len(a) == len(b) == 2 and t[:2] == (a[0], b[0]) and t[2:] == kernel
        second = (a[1], b[1], *t[2:]) if fits else None
    expect(second is not None and len(second) >= 2, told)
    assert second is not None
    flat = len(second) == 2 and first[1] * second[1] == prod(weight[1:])
    whole = first[1] * second[1] == weight[1] and alike(second[2:], kernel)
    expect(first[0] * second[0] == weight[0] and (flat or whole), told)
    return next((shapes[name][0] for name in ("lokr_w2_b", "lokr_w1_b") if name in shapes), 0)


def _product(a: Shape, b: Shape) -> Shape | None:
    return (a[0], b[1]) if len(a) == len(b) == 2 and a[1] == b[0] else None


def rows(tensors: Mapping[str, Array], weight: Shape) -> Rows:
    """w1 ⊗ w2: of its rows one is a row of w1 times one of w2."""
    first = tensors["lokr_w1"] if "lokr_w1" in tensors else tensors["lokr_w1_a"] @ tensors["lokr_w1_b"]
    if "lokr_w2" in tensors:
        second = tensors["lokr_w2"]
    elif "lokr_t2" in tensors:
        second = tucker(tensors["lokr_t2"], tensors["lokr_w2_a"], tensors["lokr_w2_b"])
    else:
        second = tensors["lokr_w2_a"] @ tensors["lokr_w2_b"]
    second = second.reshape(len(second), -1)

    def some(start: int, end: int) -> Array:
        numbers = np.arange(start, end)
        one, other = first[numbers // len(second)], second[numbers % len(second)]
        made: Array = (one[:, :, None] * other[:, None, :]).reshape(len(numbers), -1)
        return made

    return some
