"""Commands that remove: results from the build folder, artifacts that are no longer needed from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sdbuild.engine.progress import size
from sdbuild.engine.publish import folder_of, stale_folders, withdraw
from sdbuild.engine.quantities import seconds, size_bytes
from sdbuild.engine.request import graph_of, load
from sdbuild.errors import UserError, printable
from sdbuild.recipe.problems import display
from sdbuild.store import collect, explain, open_store

_LISTED = 10  # recipes


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
    """Remove what no recipe in use was last built from and no build has used for a while, or tell what would be removed.

    Raises:
        UserError: a value that cannot be, or a store in which nothing can be removed now.
    """
    dry = variables.get("dry") == "1"
    older = variables.get("older", "30d")
    most = size_bytes("max", variables["max"]) if "max" in variables else None
    store = open_store()
    found = collect(store, older=seconds("older", older), most=most, dry=dry)
    count = len(found.recipes)
    kept = [
        f"{_count(found.needed, 'artifact')} that {_count(count, 'recipe')} in use {'needs' if count == 1 else 'need'}",
        f"{found.recent} used within {older}",
        f"{size(found.resumable_bytes)} for stopped runs to go on from",
    ]
    unused = f" and no build used for {older}" if seconds("older", older) else ""
    needed = f" ({found.over_needed} of them needed by recipes in use)" if found.over_needed else ""
    removed = [
        f"{_count(found.unused, 'artifact')} that no recipe in use needs{unused}",
        f"{_count(found.over, 'artifact')} for max={variables.get('max')}, the least recently used{needed}",
    ]
    total = found.kept_bytes + found.removed_bytes + found.leftover_bytes + found.resumable_bytes
    print(f"store {display(store.root)}: {size(total)}")
    print(f"  kept: {size(found.kept_bytes)}{_parts(kept, found.needed, found.recent, found.resumable_bytes)}")
    for recipe in found.recipes[:_LISTED]:
        print(f"    {printable(display(recipe))}")
    if len(found.recipes) > _LISTED:
        print(f"    and {len(found.recipes) - _LISTED} more")
    if len(found.gone) > 1:
        print(f"  {len(found.gone)} recipes built here, such as {printable(display(found.gone[0]))}, exist no more")
    elif found.gone:
        print(f"  {printable(display(found.gone[0]))}, built here, exists no more")
    print(
        f"  {'would be removed' if dry else 'removed'}: {size(found.removed_bytes)}"
        f"{_parts(removed, found.unused, found.over)}"
    )
    if found.held_bytes:
        print(
            f"    {size(found.held_bytes)} of it stay on the disk as results under build/, which `doit clean` removes"
        )
    if found.leftover_bytes:
        print(f"  and {size(found.leftover_bytes)} that stopped or failed runs had left")


def _parts(texts: Sequence[str], *counts: int) -> str:
    """Those whose count is not 0."""
    shown = [text for text, count in zip(texts, counts, strict=True) if count]
    return f", {' and '.join(shown)}" if shown else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
