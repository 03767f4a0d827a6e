"""From a recipe to its nodes. Each job gets what matters to it and nothing else, so that builds share what they can."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from sdbuild.plan.formats import Format, Made
from sdbuild.plan.formats.coreml import CoreML
from sdbuild.plan.graph import Build, Graph, Node
from sdbuild.plan.scope import Common, Scope
from sdbuild.plan.sourcing import Sourcing
from sdbuild.recipe import Recipe


def plan(recipes: Iterable[Recipe]) -> Graph:
    """The graph of all that the recipes ask for.

    Raises:
        UserError: a local model can't be read, a compiler asked for is not on this machine, or tasks would have one name.
    """
    common, target = Common(), CoreML()
    sourcing = functools.cache(Sourcing)
    builds = []
    for recipe in recipes:
        early = common.early(recipe)
        builds.append(_build(Scope(recipe, common, early), sourcing(early), target))
    return Graph(tuple(builds))


def _build(scope: Scope, sourcing: Sourcing, target: Format) -> Build:
    recipe = scope.recipe
    made = {name: target.models(scope, sourcing, name) for name in scope.components}
    result = target.deliver(scope, sourcing, made, _proof(scope, sourcing, made))
    models = tuple(model for each in made.values() for model in each.models)
    return Build(recipe.name, recipe.variant, recipe.path, result, models, scope.expected)


def _proof(scope: Scope, sourcing: Sourcing, made: Mapping[str, Made]) -> Node | None:
    if scope.recipe.verify is None:
        return None
    from sdbuild.plan.checking import verify  # most recipes ask for none of its stages

    return verify(scope, sourcing, made, scope.recipe.verify)
