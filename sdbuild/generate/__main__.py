"""Generate without a recipe: ``python -m sdbuild.generate FOLDER… name=value…``.

Each folder, or zip, is a bundle; one may be given as ``bundle=``, too.
With ``recipe=NAME`` they are its variants, called as their folders are. ``json=1`` prints one JSON document instead of paths.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdbuild.errors import Status, UsageError, UserError
from sdbuild.generate.places import name_of
from sdbuild.generate.request import read_request
from sdbuild.generate_variables import VARIABLES
from sdbuild.program import run_program


def main(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit status. Raises UserError."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        print(_help())
        return Status.DONE
    if "json=1" not in arguments:
        _generate(arguments, print_paths=True)
        return Status.DONE
    try:
        document = _generate([each for each in arguments if each != "json=1"], print_paths=False)
    except UserError as error:
        print(json.dumps({"error": str(error)}))
        return error.status
    print(json.dumps(document, ensure_ascii=False))
    return Status.DONE


def _generate(arguments: Sequence[str], *, print_paths: bool) -> dict[str, Any]:
    given = [argument for argument in arguments if re.match(r"\w+=", argument)]  # a path may have an = in it, too
    words = [argument for argument in arguments if argument not in given]
    if options := [word for word in words if word.startswith("-")]:
        raise UsageError(f"unknown option {options[0]}: write name=value; --help lists the names")
    folders = list(map(Path, words))
    variables = dict(argument.split("=", 1) for argument in given)
    if not folders and "bundle" not in variables:
        raise UsageError(f"no bundle is named\n{_help()}")
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
    outcome = run(bundles, variables, Path.cwd(), print_paths=print_paths)
    sheet = outcome.sheet and str(outcome.sheet)
    return {"images": list(outcome.images), "sheet": sheet, "notes": list(outcome.notes)}


def _help() -> str:
    return f"{__doc__}\n" + "\n".join(f"  {f'{name}=':<12}{text}" for name, text in VARIABLES.items())


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
