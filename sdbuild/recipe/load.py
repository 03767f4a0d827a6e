"""Load a recipe: read it, fan out its variants, check each, and tell everything that is wrong at once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sdbuild.recipe import rules_embeddings, rules_generate, rules_loras, rules_model, rules_size, rules_target
from sdbuild.recipe.document import Mapping, find, first_key, parse, plain
from sdbuild.recipe.extending import Layers, layers
from sdbuild.recipe.family import load_family
from sdbuild.recipe.files import family_files, read_text, split_lines
from sdbuild.recipe.model import Recipe, resolve
from sdbuild.recipe.nulls import misspelt_nulls
from sdbuild.recipe.problems import Problem, Span, display, render, report
from sdbuild.recipe.rules import Finding, findings
from sdbuild.recipe.validation import top_level, validate, without_explained
from sdbuild.recipe.variants import builds
from sdbuild.recipe.written import OTHER_SOURCES, WrittenRecipe

__all__ = ["Loaded", "load_recipe"]
# importing them registers their rules
_RULES = (rules_embeddings, rules_generate, rules_loras, rules_model, rules_target, rules_size)


@dataclass(frozen=True)
class Loaded:
    """The builds that a recipe file asks for, and what is worth knowing about it."""

    recipes: tuple[Recipe, ...]
    warnings: tuple[str, ...]
    bases: tuple[Path, ...] = ()
    """The files that it extends, the nearest first."""


def load_recipe(path: Path) -> Loaded:
    """Every build of a recipe file: one for each variant, or a single one.

    Raises RecipeError with all problems of the file. Warnings come as they are to be printed.
    """
    text = read_text(path)
    name, lines = display(path), split_lines(text)
    tree, problems = parse(text)
    top = top_level(tree, problems)
    if top is None:
        raise report(problems, name, lines)
    found = layers(top, path, problems)
    if not found.complete:
        raise report(problems, name, lines, found.lines)
    problems += misspelt_nulls(found.files)
    fanned = builds(found.top, problems)
    said: dict[Problem, list[str | None]] = defaultdict(list)
    warned: dict[Problem, Span] = {}
    recipes = []
    for variant, merged in fanned:
        recipe, checked = _check(merged, path, variant, found)
        for problem in sorted(set(checked)):  # two aliases of one wrong value make one problem
            if problem.warning:  # what several variants are warned of is said once, at the first place
                problem = problem._replace(span=warned.setdefault(problem._replace(span=_NOWHERE), problem.span))
            if variant not in said[problem]:
                said[problem].append(variant)
        if recipe is not None:
            recipes.append(recipe)
    problems = without_explained(problems, said)
    for problem, variants in said.items():
        if len(variants) < len(fanned):
            word = "variant" if len(variants) == 1 else "variants"
            problem = problem._replace(notes=(*problem.notes, f"in {word} {', '.join(map(str, variants))}"))
        problems.append(problem)
    errors = [problem for problem in problems if not problem.warning]
    if errors:
        raise report(errors, name, lines, found.lines)
    warnings = sorted({problem for problem in problems if problem.warning})
    rendered = tuple(render(problem, name, lines, found.lines) for problem in warnings)
    return Loaded(tuple(recipes), rendered, tuple(found.bases.values()))


_NOWHERE = Span(0, 0, 1)
# What stands in for a required key that is broken, so that the rules on the other keys can still run.
_STANDINS = {"name": "x", "model": {"source": "builtin:shapes"}, "target": {"os": "iOS17"}}


def _check(merged: Mapping, path: Path, variant: str | None, found: Layers) -> tuple[Recipe | None, list[Problem]]:
    """One build's recipe, and everything to say about it; errors among that make the recipe worthless."""
    written, problems, broken = validate(WrittenRecipe, merged)
    broken |= found.unread
    if written is None:
        written = _patched(merged, broken)
        if written is None:
            return None, problems
    folders = {key: _folder(merged, path, found, key) for key in ("source", *OTHER_SOURCES)}
    embeddings = [_folder(merged, path, found, "embeddings", each) for each in range(len(written.model.embeddings))]
    loras = [_folder(merged, path, found, "loras", number) for number in range(len(written.model.loras))]
    recipe = resolve(written, load_family(written.pipeline), path.absolute(), variant, folders, embeddings, loras)
    problems += [_placed(finding, merged) for finding in findings(recipe, written, broken)]
    return recipe, problems


def _folder(merged: Mapping, path: Path, found: Layers, *key: str | int) -> Path:
    """Where a relative path of the model starts: the folder of the file that it is written in."""
    place = find(merged, ("model", *key, "source")) or find(merged, ("model", *key))
    return found.folder(place[1].span.file if place else "", path.absolute())


def _patched(merged: Mapping, broken: set[str]) -> WrittenRecipe | None:
    families = list(family_files())
    sound = Mapping({key: entry for key, entry in merged.entries.items() if key not in broken}, merged.span)
    data = plain(sound)
    assert isinstance(data, dict)
    standins = {**_STANDINS, "pipeline": families[0] if families else ""}
    try:
        return WrittenRecipe.model_validate({key: standins[key] for key in standins if key in broken} | data)
    except ValidationError:
        return None


def _placed(finding: Finding, merged: Mapping) -> Problem:
    span = first_key(merged)
    for path in finding.paths:
        if place := find(merged, path):
            key, value = place
            span = key if finding.on_key else value.span
            break
    return Problem(span, finding.message, finding.notes, finding.warning)
