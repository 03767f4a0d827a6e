"""What the compression steps of `recipe/steps/` do: a file of the same name for each, found when it is asked for."""

from collections.abc import Callable
from importlib import import_module

import sdbuild
from sdbuild.compress.selection import Settings
from sdbuild.coreml.encodings import Encoding
from sdbuild.coreml.rewrite import Weight

__path__ = [f"{folder}/compress/steps" for folder in sdbuild.__path__]

Apply = Callable[[Weight, Encoding, Settings], Encoding]
"""Takes a weight, the form that steps before gave it, and the step's settings for it; returns the form to give it."""


def find(name: str) -> Apply:
    """The function of the step of that name: it is called for each weight that the step is for, on several threads."""
    apply: Apply = import_module(f"{__name__}.{name}").apply
    return apply
