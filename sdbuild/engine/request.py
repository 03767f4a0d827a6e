"""What a command is about: the recipe that ``config=`` names, and its variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sdbuild.engine.arguments import unknown
from sdbuild.errors import UsageError
from sdbuild.plan import Graph, Node, plan
from sdbuild.program import warn
from sdbuild.recipe import Recipe, find_recipe, load_recipe
from sdbuild.recipe.written import Verify


@dataclass(frozen=True)
class Request:
    """A recipe file, and the builds of it that are asked for."""

    path: Path
    recipes: tuple[Recipe, ...]
    whole: bool
    """All builds of the recipe, not one variant."""
    bases: tuple[Path, ...] = ()
    """The files that it extends, the nearest first."""


def load(variables: Mapping[str, str], here: Path) -> Request:
    """Look the recipe up from ``here`` and load it; its warnings are printed.

    Raises:
        UserError: no such recipe or variant, or a recipe with errors.
    """
    path = find_recipe(variables.get("config"), here).resolve()
    loaded = load_recipe(path)
    for warning in loaded.warnings:
        warn(warning)
    wanted = variables.get("variant")
    if wanted is None:
        return Request(path, loaded.recipes, whole=True, bases=loaded.bases)
    chosen = tuple(recipe for recipe in loaded.recipes if recipe.variant == wanted)
    if not chosen:
        names = [recipe.variant for recipe in loaded.recipes if recipe.variant is not None]
        if not names:
            raise UsageError(f"variant={wanted}: the recipe {loaded.recipes[0].name} has no variants")
        raise unknown("variant", wanted, names, f"Variants of {loaded.recipes[0].name}: {', '.join(names)}")
    return Request(path, chosen, whole=False, bases=loaded.bases)


def graph_of(request: Request, *, verified: bool = False) -> Graph:
    """The plan of a request; ``verified``: with the task that verifies, asked for or not. Raises UserError."""
    recipes = request.recipes
    if verified:
        recipes = tuple(each if each.verify else replace(each, verify=Verify()) for each in recipes)
    return plan(recipes)


def find_task(graph: Graph, name: str) -> Node:
    """The task of that name. Raises UserError, with a suggestion."""
    if name not in graph.tasks:
        listed = list(graph.tasks)
        shown = ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")
        raise unknown("task", name, listed, f"Tasks of this recipe: {shown}")
    return graph.tasks[name]
