"""What the compression steps of `recipe/steps/` do: a file of the same name for each, found when it is asked for."""

from collections.abc import Callable
from importlib import import_module

from sdbuild import extensions
from sdbuild.compress.selection import Settings
from sdbuild.coreml.encodings import Encoding
from sdbuild.coreml.rewrite import Weight

__path__ = extensions.folders(__name__)

Apply = Callable[[Weight, Encoding, Settings], Encoding]
"""Takes a weight, the form that steps before gave it, and the step's settings for it; returns the form to give it."""


def names() -> list[str]:
    """The steps there are, in the order of the alphabet; nothing is imported."""
    return extensions.names(__path__)


def find(name: str) -> Apply:
    """The function of the step of that name: it is called for each weight that the step is for, on several threads."""
    apply: Apply = import_module(f"{__name__}.{name}").apply
    return apply
