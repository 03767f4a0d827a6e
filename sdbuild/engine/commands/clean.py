"""The command ``clean``: results are removed, the store keeps all it has."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, JSON, OUT, VARIANT, Command
from sdbuild.errors import UserError
from sdbuild.recipe.problems import display


def run(arguments: Arguments, here: Path) -> Answer:
    """Remove a recipe's results. The store keeps all it has, so that they are back at once. Raises UserError."""
    from sdbuild.engine.request import graph_of, load
    from sdbuild.engine.results import Destination, stale_folders, withdraw
    from sdbuild.store import explain

    request = load(arguments.variables, here)
    builds = graph_of(request).builds
    to = Destination.of(arguments.variables, here)
    folders = [to.folder(build) for build in builds]
    if request.whole:
        folders += [folder for folder in stale_folders(builds, to) if folder not in folders]
    try:
        removed = [folder for folder in folders if withdraw(folder)]
    except OSError as error:
        clear = explain(error, to.top(builds[0]), "remove it yourself")
        raise UserError(f"the results can't be removed: {clear or error}") from error
    for folder in (*map(to.top, builds), *([here / "build"] if to.out is None else [])):
        with suppress(OSError):  # not empty: something of the user's
            folder.rmdir()
    found = [
        {"folder": str(folder), "left": sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []}
        for folder in removed
    ]
    lines = [
        f"removed {display(folder)}" + (f"; left alone in it: {', '.join(each['left'])}" if each["left"] else "")
        for folder, each in zip(removed, found, strict=True)
    ]
    text = "\n".join(lines) or f"{display(to.top(builds[0]))}: nothing to remove"
    return Answer(text, {"recipe": request.recipes[0].name, "path": str(request.path), "removed": found})


COMMAND = Command(
    "clean",
    "Clean up",
    "remove build/<recipe>/; the store keeps everything",
    """Only what a build wrote is removed: packages, Resources, the manifest, the report of `verify` and the zip. Other
files in the folder are left alone. The next build puts the results back at once, as the store keeps what they were made
from.""",
    run,
    (CONFIG, VARIANT, OUT, JSON),
    (("clean sdxl-ios", "remove the results of a recipe, of all its variants"),),
)
