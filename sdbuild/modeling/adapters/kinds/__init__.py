"""The ways to write a difference of weights: each is a file of this folder, found by listing it.

Such a file says which tensors it takes, by the names of `sdbuild.modeling.adapters.names`: all of one of its ``FORMS``, and
some of those that it ``MAY`` have. ``PARAMETER`` is the parameter of a layer that it changes. ``SCALED``: a strength of
``alpha`` over the rank, and a magnitude (DoRA), may belong to it.

- ``rank(shapes, weight)``: the rank, 0 for what has none. Raises `MisfitError` where the tensors of these shapes don't make a
  difference of a parameter of the shape ``weight``.
- ``rows(tensors, weight)``: the `Rows` of the difference, float32, as if it were the matrix [out, everything else].
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, cast

from sdbuild import extensions
from sdbuild.arrays import Array

__path__ = extensions.folders(__name__)

Shape = tuple[int, ...]

Rows = Callable[[int, int], Array]
"""Rows of a matrix, from one to before another: a whole one of a large layer need never be in memory."""


class MisfitError(Exception):
    """Tensors that make no difference of a parameter: the text says why."""


class Kind(Protocol):
    """A file of this folder."""

    FORMS: tuple[frozenset[str], ...]
    MAY: frozenset[str]
    PARAMETER: str
    SCALED: bool

    def rank(self, shapes: Mapping[str, Shape], weight: Shape) -> int:
        """See the package."""

    def rows(self, tensors: Mapping[str, Array], weight: Shape) -> Rows:
        """See the package."""


def names() -> list[str]:
    """The kinds there are, in the order of the alphabet."""
    return extensions.names(__path__)


def find(name: str) -> Kind:
    """The kind of a name that `names` has."""
    return cast(Kind, import_module(f"{__name__}.{name}"))


def alike(shape: Shape, other: Shape) -> bool:
    """Whether shapes are equal but for ones at their ends: linear layers are convolutions of 1×1, too."""
    length = max(len(shape), len(other))
    return (*shape, *(1,) * (length - len(shape))) == (*other, *(1,) * (length - len(other)))


def expect(right: bool, what: str) -> None:
    """Raise `MisfitError` where something is not as it has to be."""
    if not right:
        raise MisfitError(what)
