"""A difference of a bias, beside any other kind, or of a norm (``b_norm``)."""

from collections.abc import Mapping

from sdbuild.arrays import Array
from sdbuild.modeling.adapters.kinds import Rows, Shape, expect

FORMS = (frozenset({"diff_b"}),)
MAY: frozenset[str] = frozenset()
PARAMETER = "bias"
SCALED = False


def rank(shapes: Mapping[str, Shape], weight: Shape) -> int:
    """None."""
    found = shapes["diff_b"]
    expect([n for n in found if n != 1] == [n for n in weight if n != 1], f"diff_b {list(found)}")
    return 0


def rows(tensors: Mapping[str, Array], weight: Shape) -> Rows:
    """The numbers themselves."""
    whole = tensors["diff_b"].reshape(weight[0], -1)
    return lambda start, end: whole[start:end]
