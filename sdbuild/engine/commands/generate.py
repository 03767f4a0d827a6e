"""The command ``generate``: in a process of its own, as everything that needs torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdbuild.delivered import ALL
from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, JSON, VARIANT, Command, Variable
from sdbuild.errors import UsageError, UserError
from sdbuild.generate_variables import CHOICES, VARIABLES
from sdbuild.quantities import size_bytes

_FILES = ("bundle", "prompts", "image")
_VARIANT = replace(VARIANT, meaning="one variant of the recipe, or `all` (all)", also=(ALL,))
RESULTS = Variable("results", "the folder that `build out=` wrote to (build/<recipe>)", kind="folder")


def run(arguments: Arguments, here: Path) -> Answer:
    """Generate with the results of a recipe, of every variant side by side unless one is named; or with ``bundle=``.

    Raises:
        UserError: a recipe or results that are not there.
        SystemExit: the process that generates failed, and said why.
    """
    from sdbuild.engine.request import graph_of, load
    from sdbuild.engine.results import Destination

    for_json = arguments.variables.get("json") == "1"
    recipe = {name: value for name, value in arguments.variables.items() if name not in (*VARIABLES, "json")}
    asked = {name: value for name, value in arguments.variables.items() if name in VARIABLES}
    if bundle := asked.pop("bundle", None):
        if recipe:
            raise UsageError(f"give bundle= or {next(iter(recipe))}=, not both: a bundle is used as it is")
        return _generate([f"bundle={bundle}"], asked, here, for_json)
    if not {"prediction", "vae_scale"}.isdisjoint(asked):
        raise UsageError("prediction= and vae_scale= are for bundle=: of a recipe's results the manifest says them")
    if "prompt" not in asked and "prompts" not in asked:
        raise UsageError(
            'say what to generate, such as prompt="a photo of a cat", or prompts=FILE with a prompt on each line'
        )
    if recipe.get("variant") == ALL:
        del recipe["variant"]
    built = recipe.pop("results", None)
    builds = graph_of(load(recipe, here)).builds
    to = Destination(here, here / built if built else None)
    folders = [to.folder(build) for build in builds]
    for build, folder in zip(builds, folders, strict=True):
        if not (folder / "manifest.json").exists():
            also = f" out={built}" if built else ""
            raise UserError(
                f"{folder}: nothing built there yet; run: {arguments.program} build config={build.recipe}{also}"
            )
    named = [f"recipe={builds[0].name}"] if builds[0].variant else []
    asked.setdefault("out", str(here / "build" / "images" / builds[0].name))  # whatever the folder of results is called
    return _generate([*map(str, folders), *named], asked, here, for_json)


def _generate(words: Sequence[str], asked: Mapping[str, str], here: Path, for_json: bool) -> Answer:
    import subprocess

    from sdbuild.engine.environment import stage_environment

    given = (f"{name}={asked[name]}" for name in asked)
    generating = [sys.executable, "-m", "sdbuild.generate", *words, *given, *(["json=1"] if for_json else [])]
    output = subprocess.PIPE if for_json else None
    with subprocess.Popen(generating, cwd=here, env=stage_environment(1), stdout=output) as process:
        try:
            printed, _ = process.communicate()
        except KeyboardInterrupt:  # of the terminal: it gets it, too, says so, and ends
            printed, _ = process.communicate()
    status = process.returncode
    document: dict[str, Any] = json.loads(printed) if printed else {}
    if "error" in document:
        raise UserError(document["error"], status=status)
    if status:
        raise SystemExit(status if status > 0 else 128 - status)
    return Answer(data=document)


def _variable(name: str, meaning: str) -> Variable:
    return Variable(
        name,
        meaning,
        kind="file" if name in _FILES else "folder" if name == "out" else "text",
        choices=CHOICES.get(name, ()),
        may_be_empty=name == "negative",
        read=size_bytes if name == "memory" else None,
    )


COMMAND = Command(
    "generate",
    "Build",
    "generate images with what a build put into build/<recipe>/",
    """The models that ship are run, from Resources/*.mlmodelc, on any operating system: what comes out is what the app
shows, up to the rounding of the hardware. Images go to build/images/<recipe>/, named after the prompt and the seed.
With more than one image a contact sheet is written beside them; variant=all has the variants side by side. bundle=
takes anybody's bundle.

docs/generate.md has more.""",
    run,
    (CONFIG, _VARIANT, RESULTS, *(_variable(name, meaning) for name, meaning in VARIABLES.items()), JSON),
    (
        ('generate prompt="a large red circle on a blue background"', "with the results of configs/shapes.yaml"),
        ('generate sdxl-ios prompt="a lighthouse" count=4 steps=25', "four images, and a sheet of them"),
        ('generate bundle=Model.zip prompt="a lighthouse"', "with a bundle that somebody else built"),
    ),
)
