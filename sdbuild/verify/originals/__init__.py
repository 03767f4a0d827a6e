"""The PyTorch originals of components: for each kind of `sdbuild.modeling.components` a file of the same name.

What they compute is the library's own: two files on purpose, for nothing of the modules that are traced takes part here.

Such a file has a function ``build(config, *, …)``, which takes the component's ``config.json`` and the options of the kind, and
is called within ``torch.device("meta")``. It gives the library's module, whose parameters are the checkpoint's, and a function
that runs it: float32 tensors in the order of the component's inputs to tensors in the order of its outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from sdbuild import extensions

__path__ = extensions.folders(__name__)

Forward = Callable[..., Sequence[Tensor]]
Build = Callable[..., tuple[nn.Module, Forward]]


def names() -> list[str]:
    """The kinds that have an original, in the order of the alphabet; nothing is imported."""
    return extensions.names(__path__)


def build(kind: str, config: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[nn.Module, Forward]:
    """The original of a component, without weights, and how to run it."""
    found: Build = import_module(f"{__name__}.{kind}").build
    return found(config, **options)
