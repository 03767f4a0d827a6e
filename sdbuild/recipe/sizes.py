"""How large a component's weights become, from nominal parameter counts: good to a few per cent, known at once."""

from __future__ import annotations

from collections.abc import Iterable

from sdbuild.recipe.compression import Step, compressed
from sdbuild.recipe.family import Component

GB = 1_000_000_000


def weight_bytes(component: Component, steps: Iterable[Step] = ()) -> int:
    """Bytes of a component's weights on disk, after compression.

    `component` should carry the recipe's precision (`Recipe.component`). What is said of some weights only is counted for
    embeddings alone: how many weights the rest concerns shows when the model is at hand.
    """
    weights, embeddings = compressed(steps, full_bits(component))
    rest = component.parameters - component.embedding_parameters
    return int(rest * weights.size + component.embedding_parameters * embeddings.size) // 8


def full_bits(component: Component) -> int:
    """Of a weight that is left alone."""
    return 32 if component.precision == "float32" else 16
