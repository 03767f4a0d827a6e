"""The command ``validate``: whether a recipe has errors."""

from __future__ import annotations

from pathlib import Path

from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, JSON, Command
from sdbuild.engine.table import table
from sdbuild.recipe.problems import display


def run(arguments: Arguments, here: Path) -> Answer:
    """Check a recipe; the builds that it asks for. Raises UserError."""
    from sdbuild.engine.request import load

    request = load(arguments.variables, here)
    count = len(request.recipes)
    rows = [
        (
            recipe.variant or recipe.name,
            recipe.os,
            recipe.compute_units,
            str(recipe.resolution),
            recipe.attention,
            ", ".join(recipe.components),
        )
        for recipe in request.recipes
    ]
    over = f", extends {' and '.join(map(display, request.bases))}" if request.bases else ""
    found = f"{display(request.path)}: valid, {'1 build' if count == 1 else f'{count} builds'}{over}"
    text = table([("build", "from", "compute units", "image", "attention", "components"), *rows])
    builds = [
        {
            "variant": recipe.variant,
            "os": recipe.os,
            "device": recipe.device,
            "compute_units": recipe.compute_units,
            "width": recipe.resolution.width,
            "height": recipe.resolution.height,
            "attention": recipe.attention,
            "components": list(recipe.components),
        }
        for recipe in request.recipes
    ]
    data = {
        "recipe": request.recipes[0].name,
        "path": str(request.path),
        "extends": [*map(str, request.bases)],
        "builds": builds,
    }
    return Answer(f"{found}\n{text}", data)


COMMAND = Command(
    "validate",
    "Ask",
    "check a recipe and print what it resolves to",
    """All errors of a recipe are reported at once, each with its line, what is allowed and what was probably meant.
Without errors: the builds that it asks for, with every default filled in.""",
    run,
    (CONFIG, JSON),
    (("validate mine.yaml", "check a recipe of your own"),),
)
