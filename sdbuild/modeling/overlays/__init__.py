"""The kinds of overlays, which change weights as they are read: each is a file of this folder, found by listing it.

Such a file has a number ``RANK``, kinds of a lower one being applied first, and a function ``lay(weights, layers, model)``: the
weights with all layers of the kind. It is called wherever weights are read, so a weight is the same for conversion and for the
original that it is compared with. Sums are float32: who writes weights rounds them, once.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from sdbuild import extensions
from sdbuild.overlay import Layer

if TYPE_CHECKING:
    from sdbuild.modeling.weights import Shapes, Weights

__path__ = extensions.folders(__name__)


class Kind(Protocol):
    """A file of this folder."""

    RANK: int

    def lay(self, weights: "Weights", layers: Mapping[str, Layer], model: "Shapes") -> "Weights":
        """The weights of a component with the layers over them; ``model`` has the shape of each of its parameters.

        Raises UserError: a layer that is not for this model.
        """


def find(name: str) -> Kind:
    """The kind of a name."""
    return cast(Kind, import_module(f"{__name__}.{name}"))
