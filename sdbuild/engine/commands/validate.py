"""The command ``validate``: whether a recipe has errors."""

from __future__ import annotations

from pathlib import Path

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, Command
from sdbuild.engine.request import load
from sdbuild.engine.summary import table
from sdbuild.recipe.problems import display


def run(arguments: Arguments, here: Path) -> None:
    """Check a recipe and print what it comes to. Raises UserError."""
    request = load(arguments.variables, here)
    count = len(request.recipes)
    print(f"{display(request.path)}: valid, {'1 build' if count == 1 else f'{count} builds'}")
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
    print(table([("build", "from", "compute units", "image", "attention", "components"), *rows]))


COMMAND = Command(
    "validate",
    "Ask",
    "check a recipe and print what it resolves to",
    """All errors of a recipe are reported at once, each with its line, what is allowed and what was probably meant.
Without errors: the builds that it asks for, with every default filled in.""",
    run,
    (CONFIG,),
    (("validate mine.yaml", "check a recipe of your own"),),
)
