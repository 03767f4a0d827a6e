"""Rules on what is merged into the weights."""

from __future__ import annotations

from collections.abc import Iterator

from sdbuild.recipe.fields import EVERYTHING
from sdbuild.recipe.model import Recipe
from sdbuild.recipe.problems import allowed, hint
from sdbuild.recipe.rules import Finding, rule
from sdbuild.recipe.rules_model import source_findings
from sdbuild.recipe.written import WrittenRecipe


@rule("model")
def lora_sources(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Each must be a file, or a source that holds one."""
    for number, lora in enumerate(recipe.model.loras):
        yield from source_findings(lora.source, ("model", "loras", number), "")


@rule("model", "pipeline", "components")
def lora_weights(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Weights belong to components that LoRAs change, and blocks to the one that has such."""
    changed = recipe.family.adaptable
    for number, lora in enumerate(recipe.model.loras):
        at = ("model", "loras", number, "weight")
        for name, weight in lora.weight.items():
            if name == EVERYTHING:
                continue
            if name not in changed:
                notes = (*hint(name, list(changed)), allowed(list(changed)))
                yield Finding(
                    f"no LoRA changes a component '{name}' of {recipe.family.name}", ((*at, name),), notes, on_key=True
                )
            elif isinstance(weight, dict) and changed[name] != "unet":
                yield Finding(f"'{name}' has no blocks: write one number", ((*at, name),))
