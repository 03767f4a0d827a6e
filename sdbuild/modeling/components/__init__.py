"""The kinds of components: each is a file of this folder, found by listing it, and imported when a component of it is built.

Such a file has two functions. Both take the component's ``config.json`` and, by name, the options that a family sets for the
kind; the parameters of ``build`` say which there are.

- ``build(config, *, …)``: the component as a module to trace, tensors in and out in the order of its ports. It holds the
  library's own module, whose parameters are the checkpoint's, as ``model``. Called within ``torch.device("meta")``.
- ``dimensions(config, *, …)``: the sizes that ports may name and that the configuration alone tells.

What the library itself computes is the business of the file of the same name in `sdbuild.verify.originals`.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from sdbuild import extensions

if TYPE_CHECKING:
    from torch import nn

__path__ = extensions.folders(__name__)


class Kind(Protocol):
    """A file of this folder."""

    def build(self, config: Mapping[str, Any], **options: Any) -> "nn.Module":
        """The module, without weights."""

    def dimensions(self, config: Mapping[str, Any], **options: Any) -> dict[str, int]:
        """Sizes by the names that ports have for them."""


def names() -> list[str]:
    """The kinds there are, in the order of the alphabet; nothing is imported."""
    return extensions.names(__path__)


def own_names() -> list[str]:
    """Those that come with sdbuild."""
    return extensions.names(__path__[:1])


def find(name: str) -> Kind:
    """The kind of a name that `names` has, with the libraries that it takes."""
    return cast(Kind, import_module(f"{__name__}.{name}"))
