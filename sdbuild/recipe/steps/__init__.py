"""The compression steps: each is a file of this folder, found by listing it. What it does is in `compress/steps/`.

`recipe/steps/` of any other folder that is in `sdbuild.__path__` counts, too, if it is there before recipes are imported.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import sdbuild
from sdbuild.recipe.step import Options

__path__ = [f"{folder}/recipe/steps" for folder in sdbuild.__path__]


def names() -> list[str]:
    """The steps there are, in the order of the alphabet; nothing is imported."""
    return sorted(each.name for each in pkgutil.iter_modules(__path__))


def find(name: str) -> type[Options[Any]]:
    """The options of a step of a name that `names` has."""
    step: type[Options[Any]] = import_module(f"{__name__}.{name}").STEP
    assert issubclass(step, Options), f"STEP of {name}.py is no step's options"
    return step
