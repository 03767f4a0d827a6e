"""The stages: each is declared in a file of this folder, found by listing it. What it does is in `stages/`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from sdbuild import extensions
from sdbuild.job import Artifact, stage_of

__path__ = extensions.folders(__name__)

Rewrite = Callable[[Any, str, Artifact], Any]


def names() -> list[str]:
    """The stages there are, in the order of the alphabet; nothing is imported."""
    return extensions.names(__path__)


def find(name: str) -> type[Any]:
    """The class of the jobs of a stage of a name that `names` has."""
    module = import_module(f"{__name__}.{name}")
    (job,) = (each for each in vars(module).values() if isinstance(each, type) and _declares(each, name))
    return job


def rewrites() -> list[Rewrite]:
    """The functions called ``rewrite`` that stages of extensions have beside their declarations, in the order of the names.

    Called with a recipe, a component's name and its package, such a function gives the stage's job, whose artifact is a package
    of the same name, to go on with; None to leave that one.
    """
    modules = (import_module(f"{__name__}.{name}") for name in extensions.names(__path__[1:]))
    return [module.rewrite for module in modules if hasattr(module, "rewrite")]


def _declares(kind: type[Any], name: str) -> bool:
    return "__stage__" in vars(kind) and stage_of(kind).name == name
