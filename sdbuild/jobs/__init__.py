"""The stages: each is declared in a file of this folder, found by listing it. What it does is in `stages/`.

`jobs/` and `stages/` of any other folder in `sdbuild.__path__` count, too, if it is there before they are imported.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import sdbuild
from sdbuild.job import stage_of

__path__ = [f"{folder}/jobs" for folder in sdbuild.__path__]


def names() -> list[str]:
    """The stages there are, in the order of the alphabet; nothing is imported."""
    return sorted(each.name for each in pkgutil.iter_modules(__path__))


def find(name: str) -> type[Any]:
    """The class of the jobs of a stage of a name that `names` has."""
    module = import_module(f"{__name__}.{name}")
    (job,) = (each for each in vars(module).values() if isinstance(each, type) and _declares(each, name))
    return job


def _declares(kind: type[Any], name: str) -> bool:
    return "__stage__" in vars(kind) and stage_of(kind).name == name
