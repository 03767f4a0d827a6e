"""The command ``list``: what there is."""

from __future__ import annotations

from pathlib import Path

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import Command
from sdbuild.engine.help import overview
from sdbuild.recipe import load_recipe
from sdbuild.recipe.files import configs_folder, names_in


def run(arguments: Arguments, here: Path) -> None:
    """Print the recipes that come with sdbuild and the commands."""
    folder = configs_folder()
    print("Recipes (config=NAME, or config=PATH for one of your own):")
    rows = []
    for name in names_in(folder):
        recipe = load_recipe(folder / f"{name}.yaml").recipes[0]
        rows.append((name, recipe.family.title, _opening(folder / f"{name}.yaml")))
    width = max(len(row[0]) for row in rows)
    print("\n".join(f"  {name:<{width}}  {opening or title}" for name, title, opening in rows))
    print(overview())


def _opening(path: Path) -> str:
    """The first comment of a recipe that is not for editors: what it is for."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and "yaml-language-server" not in line:
            return line.removeprefix("# ")
    return ""


COMMAND = Command(
    "list",
    "Ask",
    "the recipes that come with sdbuild, and the commands",
    "The recipes are in `configs/`: a name of one of them stands for its path wherever a recipe is named.",
    run,
    (),
    (("list", "recipes and commands"),),
)
