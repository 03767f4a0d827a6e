"""Nulls that remove nothing because their key is misspelt: once mappings are merged, neither is left to be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sdbuild.recipe.document import Mapping, Sequence, find, is_null
from sdbuild.recipe.family import every_family
from sdbuild.recipe.problems import Problem, allowed, hint
from sdbuild.recipe.validation import unknown_nulls
from sdbuild.recipe.variants import without_empty
from sdbuild.recipe.written import WrittenRecipe

_OF_COMPONENTS = {("compress",): (), ("precision",): (), ("verify", "min_psnr"): ("image",)}
"""Mappings from names of components, and what else is a key there."""


def misspelt_nulls(files: list[Mapping]) -> Iterator[Problem]:
    """Null under a key that a recipe can't have, in recipe files as they are written, and in their variants."""
    for written in [*files, *_variants(files)]:
        tree = without_empty(written, [])  # which is reported of all keys, and kept
        yield from unknown_nulls(WrittenRecipe, tree)
        for path, others in _OF_COMPONENTS.items():
            place = find(tree, path)
            if place is not None and isinstance(place[1], Mapping):
                yield from _no_components(place[1], others)


def _variants(files: Iterable[Mapping]) -> Iterator[Mapping]:
    for each in files:
        place = find(each, ("variants",))
        if place is not None and isinstance(place[1], Sequence):
            yield from (item for item in place[1].items if isinstance(item, Mapping))


def _no_components(written: Mapping, others: tuple[str, ...]) -> Iterator[Problem]:
    """Of any family: what a recipe extends may be for another one than the recipe itself."""
    nulls = {key: entry for key, entry in written.entries.items() if is_null(entry.value)}
    if not nulls:
        return
    known = [*dict.fromkeys(name for family in every_family().values() for name in family.components), *others]
    for name, entry in nulls.items():
        if name not in known:
            yield Problem(entry.key, f"no pipeline has a component '{name}'", (*hint(name, known), allowed(known)))
