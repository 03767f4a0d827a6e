"""Commands that remove: results from the build folder, artifacts that no recipe needs from the store."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sdbuild.engine.progress import size
from sdbuild.engine.publish import folder_of, stale_folders, withdraw
from sdbuild.engine.request import graph_of, load
from sdbuild.errors import UserError
from sdbuild.recipe.problems import display
from sdbuild.store import collect, explain, open_store


def clean(variables: Mapping[str, str], here: Path) -> None:
    """Remove a recipe's results. The store keeps all it has, so that they are back at once. Raises UserError."""
    request = load(variables, here)
    builds = graph_of(request).builds
    folders = [folder_of(build, here) for build in builds]
    if request.whole:
        folders += [folder for folder in stale_folders(builds, here) if folder not in folders]
    try:
        removed = [folder for folder in folders if withdraw(folder)]
    except OSError as error:
        clear = explain(error, here / "build", "remove it yourself")
        raise UserError(f"the results can't be removed: {clear or error}") from error
    for folder in {folder for build in builds for folder in (here / "build" / build.name, here / "build")}:
        with suppress(OSError):  # not empty: something of the user's
            folder.rmdir()
    for folder in removed:
        left = (
            f"; {', '.join(sorted(path.name for path in folder.iterdir()))} in it left alone" if folder.is_dir() else ""
        )
        print(f"removed {display(folder)}{left}")
    if not removed:
        print(f"{display(here / 'build' / builds[0].name)}: nothing to remove")


def collect_garbage(variables: Mapping[str, str]) -> None:
    """Remove what no recipe in use was last built from, or tell what would be removed. Raises UserError."""
    dry = variables.get("dry") == "1"
    store = open_store()
    found = collect(store, dry=dry)
    print(f"store {display(store.root)}: {size(found.kept_bytes + found.removed_bytes + found.leftover_bytes)}")
    print(
        f"  kept: {size(found.kept_bytes)} in {found.kept} artifacts, which {_count(len(found.recipes), 'recipe')} in use need"
    )
    for recipe in found.recipes:
        print(f"    {display(recipe)}")
    for recipe in found.gone:
        print(f"    {display(recipe)} exists no more: what only it needed goes")
    print(
        f"  {'would be removed' if dry else 'removed'}: {size(found.removed_bytes)} in {_count(found.removed, 'artifact')}"
    )
    if found.leftover_bytes:
        print(f"  and {size(found.leftover_bytes)} that stopped or failed runs had left")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
