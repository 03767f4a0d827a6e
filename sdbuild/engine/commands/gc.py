"""The command ``gc``: artifacts that are no longer needed are removed from the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import JSON, Command, Variable
from sdbuild.engine.progress import size
from sdbuild.errors import printable
from sdbuild.quantities import seconds, size_bytes
from sdbuild.recipe.problems import display

_LISTED = 10  # recipes


def run(arguments: Arguments, here: Path) -> Answer:
    """Remove what no recipe in use was last built from and no build has used for a while, or tell what would be removed.

    Raises:
        UserError: a value that cannot be, or a store in which nothing can be removed now.
    """
    from sdbuild.store import collect, open_store

    variables = arguments.variables
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
    lines = [
        f"store {display(store.root)}: {size(total)}",
        f"  kept: {size(found.kept_bytes)}{_parts(kept, found.needed, found.recent, found.resumable_bytes)}",
        *(f"    {printable(display(recipe))}" for recipe in found.recipes[:_LISTED]),
    ]
    if len(found.recipes) > _LISTED:
        lines.append(f"    and {len(found.recipes) - _LISTED} more")
    if len(found.gone) > 1:
        lines.append(
            f"  {len(found.gone)} recipes built here, such as {printable(display(found.gone[0]))}, exist no more"
        )
    elif found.gone:
        lines.append(f"  {printable(display(found.gone[0]))}, built here, exists no more")
    lines.append(
        f"  {'would be removed' if dry else 'removed'}: {size(found.removed_bytes)}"
        f"{_parts(removed, found.unused, found.over)}"
    )
    if found.held_bytes:
        lines.append(
            f"    {size(found.held_bytes)} of it stay on the disk as results under build/, which `doit clean` removes"
        )
    if found.leftover_bytes:
        lines.append(f"  and {size(found.leftover_bytes)} that stopped or failed runs had left")
    data = {
        "store": str(store.root),
        "dry": dry,
        "total_bytes": total,
        "kept_bytes": found.kept_bytes,
        "removed_bytes": found.removed_bytes,
        "held_bytes": found.held_bytes,
        "leftover_bytes": found.leftover_bytes,
        "resumable_bytes": found.resumable_bytes,
        "kept_needed": found.needed,
        "kept_recent": found.recent,
        "removed_unused": found.unused,
        "removed_over": found.over,
        "removed_over_needed": found.over_needed,
        "recipes": [str(recipe) for recipe in found.recipes],
        "recipes_gone": [str(recipe) for recipe in found.gone],
    }
    return Answer("\n".join(lines), data)


def _parts(texts: Sequence[str], *counts: int) -> str:
    """Those whose count is not 0."""
    shown = [text for text, count in zip(texts, counts, strict=True) if count]
    return f", {' and '.join(shown)}" if shown else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


COMMAND = Command(
    "gc",
    "Clean up",
    "remove from the store what no recipe in use needs and no build has used for 30 days",
    """Recipes in use are those that were built here and still exist; what they were last built from stays. Of the rest,
what a build has used lately stays, too. It prints how large the store is, what is kept and why, and what was removed.

Results under build/ are hard links into the store: what they hold stays on the disk until `clean` removes them.""",
    run,
    (
        Variable(
            "older",
            "how long nothing may have used what is removed: 90m, 12h, 30d (the default), 2w; 0d counts nothing as used",
            read=seconds,
        ),
        Variable(
            "max",
            "how large the store may be after it: 500MB, 20GB; what recipes in use need goes last",
            read=size_bytes,
        ),
        Variable("dry", "dry=1: only print what would be removed, and remove nothing", switch=True),
        JSON,
    ),
    (
        ("gc dry=1", "what would be removed"),
        ("gc older=0d", "keep only what recipes in use were last built from"),
        ("gc max=20GB", "the least recently used goes until 20 GB remain"),
    ),
)
