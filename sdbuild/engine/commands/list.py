"""The command ``list``: what there is."""

from __future__ import annotations

from pathlib import Path

from sdbuild.engine import commands
from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import JSON, Command
from sdbuild.engine.help import overview
from sdbuild.recipe.files import configs_folder, names_in


def run(arguments: Arguments, here: Path) -> Answer:
    """The recipes that come with sdbuild, and the commands."""
    folder = configs_folder()
    recipes = []
    for name in names_in(folder):
        path = folder / f"{name}.yaml"
        title = _opening(path) or _family_title(path)
        recipes.append({"name": name, "path": str(path), "title": title})
    width = max(len(each["name"]) for each in recipes)
    lines = ["Recipes (config=NAME, or config=PATH for one of your own):"]
    lines += [f"  {each['name']:<{width}}  {each['title']}" for each in recipes]
    listed = [
        {
            "name": command.name,
            "summary": command.summary,
            "variables": {variable.name: variable.meaning for variable in command.variables},
        }
        for command in commands.every()
    ]
    return Answer("\n".join((*lines, overview())), {"recipes": recipes, "commands": listed})


def _family_title(path: Path) -> str:
    from sdbuild.recipe import load_recipe

    return load_recipe(path).recipes[0].family.title


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
    (JSON,),
    (("list", "recipes and commands"),),
)
