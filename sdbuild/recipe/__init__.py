"""Recipes: what a user wants built, read from YAML and checked before anything runs."""

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
