"""How large a component's weights become, from nominal parameter counts: good to a few per cent, known at once."""

from __future__ import annotations

from collections.abc import Iterable

from sdbuild.recipe.family import Component
from sdbuild.recipe.steps import Palettize, Step

GB = 1_000_000_000


def weight_bytes(component: Component, steps: Iterable[Step] = ()) -> int:
    """Bytes of a component's weights on disk, after compression.

    `component` should carry the recipe's precision (`Recipe.component`). What is said of some weights only is counted for
    embeddings alone: how many weights the rest concerns shows when the model is at hand. The tables of values are not
    counted either: of usual groups they take a hundredth.
    """
    full = 32 if component.precision == "float32" else 16
    options = palette(steps)
    bits = options.bits if options else full
    embedding_bits = options.embedding_bits(full) if options else full
    embeddings = component.embedding_parameters
    return ((component.parameters - embeddings) * bits + embeddings * embedding_bits) // 8


def palette(steps: Iterable[Step]) -> Palettize | None:
    """The options of a component's palettize step, if it has one."""
    return next((step.palettize for step in steps if step.palettize is not None), None)
