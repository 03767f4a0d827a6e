"""What recipes come to: JSON in, JSON out. Run by tests with the folder of toy steps in PYTHONPATH, and without.

In: a list of [the path of a recipe, a package or null, a folder]. With a package, what the recipe's compress stage makes of it
is written to the folder. Out: for each recipe an object; of one that is refused, the message.
"""

import json
import sys
from pathlib import Path
from typing import Any

from sdbuild.errors import UserError
from sdbuild.plan import plan
from sdbuild.plan.keys import ingredients, key_of
from sdbuild.recipe import load_recipe
from sdbuild.recipe.schema import recipe_schema


def main(recipe: str, package: str | None, folder: str) -> Any:
    try:
        loaded = load_recipe(Path(recipe))
    except UserError as error:
        return str(error)
    graph = plan(loaded.recipes)
    node = graph.tasks["compress:unet"]
    if package is not None:
        from sdbuild.stages import Job
        from sdbuild.stages.compress import run

        output, scratch = Path(folder) / "output", Path(folder) / "scratch"
        for path in (output, scratch):
            path.mkdir(parents=True)
        run(Job(node.settings, {"package": Path(package)}, output, scratch, lambda *_: None))
    return {
        "bits": graph.builds[0].models[0].bits,
        "size": graph.builds[0].expected[node].size,
        "key": key_of(ingredients(node, [""])),
        "code": sorted(node.settings["code"]),
        "steps": list(recipe_schema()["$defs"]["Step"]["properties"]),
        "warnings": list(loaded.warnings),
    }


if __name__ == "__main__":
    print(json.dumps([main(*case) for case in json.load(sys.stdin)]))
