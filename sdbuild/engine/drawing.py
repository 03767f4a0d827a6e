"""The command that draws: in a process of its own, as everything that needs torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdbuild.engine.environment import stage_environment
from sdbuild.engine.publish import folder_of
from sdbuild.engine.request import graph_of, load
from sdbuild.errors import UsageError, UserError
from sdbuild.generate.request import VARIABLES, read_request
from sdbuild.recipe.variants import ALL


def draw(variables: Mapping[str, str], here: Path) -> None:
    """Draw with the results of a recipe, with those of every variant, side by side, unless one is named; or with ``bundle=``.

    Raises:
        UserError: a value that cannot be, or results that are not there.
        SystemExit: drawing failed, and said why.
    """
    recipe = {name: value for name, value in variables.items() if name not in VARIABLES}
    asked = {name: value for name, value in variables.items() if name in VARIABLES}
    request = read_request(asked, here)
    if bundle := asked.pop("bundle", None):
        if recipe:
            raise UsageError(f"give bundle= or {next(iter(recipe))}=, not both: a bundle is drawn with as it is")
        _run([f"bundle={bundle}"], asked, here)
        return
    if request.prediction is not None or request.vae_scale is not None:
        raise UsageError("prediction= and vae_scale= are for bundle=: of a recipe's results the manifest says them")
    if recipe.get("variant") == ALL:
        del recipe["variant"]
    builds = graph_of(load(recipe, here)).builds
    folders = [folder_of(build, here) for build in builds]
    for build, folder in zip(builds, folders, strict=True):
        if not (folder / "manifest.json").exists():
            raise UserError(f"{folder}: nothing built there yet; run: doit build config={build.recipe}")
    named = [f"recipe={builds[0].name}"] if builds[0].variant else []
    _run([*map(str, folders), *named], asked, here)


def _run(words: Sequence[str], asked: Mapping[str, str], here: Path) -> None:
    drawing = [sys.executable, "-m", "sdbuild.generate", *words, *(f"{name}={value}" for name, value in asked.items())]
    status = subprocess.run(drawing, cwd=here, env=stage_environment(1), check=False).returncode
    if status:
        raise SystemExit(status if status > 0 else 128 - status)
