"""The compression steps: each is a file of this folder, found by listing it. What it does is in `compress/steps/`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sdbuild import extensions
from sdbuild.recipe.step import Options

__path__ = extensions.folders(__name__)


def names() -> list[str]:
    """The steps there are, in the order of the alphabet; nothing is imported."""
    return extensions.names(__path__)


def find(name: str) -> type[Options[Any]]:
    """The options of a step of a name that `names` has."""
    step: type[Options[Any]] = import_module(f"{__name__}.{name}").STEP
    assert issubclass(step, Options), f"STEP of {name}.py is no step's options"
    return step
