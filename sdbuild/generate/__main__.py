"""Generate without a recipe: ``python -m sdbuild.generate FOLDER… name=value…``.

Each folder, or zip, is a bundle; one may be given as ``bundle=``, too.
With ``recipe=NAME`` they are its variants, called as their folders are.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sdbuild.errors import Status
from sdbuild.generate.places import name_of
from sdbuild.generate.request import read_request
from sdbuild.generate_variables import VARIABLES
from sdbuild.program import run_program


def main(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit status. Raises UserError."""
    given = [argument for argument in arguments if re.match(r"\w+=", argument)]  # a path may have an = in it, too
    folders = [Path(argument) for argument in arguments if argument not in given]
    variables = dict(argument.split("=", 1) for argument in given)
    if not folders and "bundle" not in variables:
        print(f"{__doc__}\n" + "\n".join(f"  {name + '=':<12}{text}" for name, text in VARIABLES.items()))
        return Status.USAGE
    if "bundle" in variables:
        folders.append(Path(variables.pop("bundle")))
    recipe = variables.pop("recipe", None)
    if recipe is None and len(folders) > 1:
        recipe = name_of(folders[0].resolve().parent)
    read_request(variables, Path.cwd())
    from sdbuild.generate.command import BundleAt, run  # takes seconds: mistakes are reported before

    if recipe is None:
        bundles = [BundleAt(name_of(folders[0]), folders[0])]
    else:
        bundles = [BundleAt(recipe, folder, name_of(folder)) for folder in folders]
    run(bundles, variables, Path.cwd())
    return Status.DONE


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
