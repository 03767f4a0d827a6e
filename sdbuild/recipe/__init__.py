"""Recipes: what a user wants built, read from YAML and checked before anything runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdbuild.recipe.family import Component, Family, Port, load_family
    from sdbuild.recipe.files import find_recipe
    from sdbuild.recipe.load import Loaded, load_recipe
    from sdbuild.recipe.model import Recipe
    from sdbuild.recipe.problems import RecipeError

__all__ = [
    "Component",
    "Family",
    "Loaded",
    "Port",
    "Recipe",
    "RecipeError",
    "find_recipe",
    "load_family",
    "load_recipe",
]
_MODULES = {
    "family": ("Component", "Family", "Port", "load_family"),
    "files": ("find_recipe",),
    "load": ("Loaded", "load_recipe"),
    "model": ("Recipe",),
    "problems": ("RecipeError",),
}


def __getattr__(name: str) -> Any:
    """Import pydantic and YAML only for those who read recipes: to find one, or to report an error, takes neither."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
