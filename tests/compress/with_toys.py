"""What recipes come to: JSON in, JSON out. Run by tests with the extension of toy steps, and without.

In: a list of [the path of a recipe, a package or null, a folder]. With a package, what the recipe's compress stage makes of it
is written to the folder. Out: for each recipe an object; of one that is refused, the message.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdbuild.errors import UserError
from sdbuild.job import Found
from sdbuild.plan import plan
from sdbuild.plan.keys import ingredients, key_of
from sdbuild.recipe import load_recipe
from sdbuild.recipe.schema import recipe_schema
from tests.execute import run


def main(recipe: str, package: str | None, folder: str) -> Any:
    try:
        loaded = load_recipe(Path(recipe))
    except UserError as error:
        return str(error)
    graph = plan(loaded.recipes)
    node = graph.tasks["compress:unet"]
    if package is not None:
        run(replace(node.job, package=Found(Path(package))), Path(folder))
    return {
        "bits": graph.builds[0].models[0].bits,
        "size": graph.builds[0].expected[node].size,
        "key": key_of(ingredients(node, [""])),
        "versions": node.job.versions,
        "steps": list(recipe_schema()["$defs"]["Step"]["properties"]),
        "warnings": list(loaded.warnings),
    }


if __name__ == "__main__":
    print(json.dumps([main(*case) for case in json.loads(sys.argv[1])]))
