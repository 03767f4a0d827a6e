"""The engine of the cross-field rules: what a finding is, which keys a rule reads, and when it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sdbuild.recipe.document import Location
from sdbuild.recipe.model import Recipe
from sdbuild.recipe.written import WrittenRecipe


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule has to say. It is shown at the first of `paths` that the recipe writes; `on_key`: at its key."""

    message: str
    paths: tuple[Location, ...]
    notes: tuple[str, ...] = ()
    warning: bool = False
    on_key: bool = False


Rule = Callable[[Recipe, WrittenRecipe], Iterator[Finding]]
_RULES: list[tuple[frozenset[str], Rule]] = []


def rule(*reads: str) -> Callable[[Rule], Rule]:
    """Register a rule that reads these top-level keys; it is left out when one of them is broken."""

    def register(function: Rule) -> Rule:
        _RULES.append((frozenset(reads), function))
        return function

    return register


def findings(recipe: Recipe, written: WrittenRecipe, broken: set[str]) -> Iterator[Finding]:
    """What every rule that can run has to say.

    Rules that read one key alone come first, and an error of theirs makes the key broken for the others: what those
    would say rests on a value that has to change.
    """
    broken = set(broken)
    for reads, function in sorted(_RULES, key=lambda registered: len(registered[0])):
        if reads & broken:
            continue
        for finding in function(recipe, written):
            if len(reads) == 1 and not finding.warning:
                broken |= reads
            yield finding
