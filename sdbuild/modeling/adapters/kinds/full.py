"""A whole difference of a weight: of a layer that was fine-tuned, or of a norm (``w_norm``)."""

from collections.abc import Mapping

from sdbuild.arrays import Array
from sdbuild.modeling.adapters.kinds import Rows, Shape, expect

FORMS = (frozenset({"diff"}),)
MAY: frozenset[str] = frozenset()
PARAMETER = "weight"
SCALED = False


def rank(shapes: Mapping[str, Shape], weight: Shape) -> int:
    """None."""
    found = shapes["diff"]
    expect([n for n in found if n != 1] == [n for n in weight if n != 1], f"diff {list(found)}")
    return 0


def rows(tensors: Mapping[str, Array], weight: Shape) -> Rows:
    """The numbers themselves."""
    whole = tensors["diff"].reshape(weight[0], -1)
    return lambda start, end: whole[start:end]
