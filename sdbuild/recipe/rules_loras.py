"""Rules on what is merged into the weights."""

from __future__ import annotations

from collections.abc import Iterator

from sdbuild.distillation import recognize
from sdbuild.recipe.fields import EVERYTHING
from sdbuild.recipe.loras import Lora
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


@rule("model", "generate")
def distilled_loras_get_what_they_want(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """LoRAs for few steps, as far as names say it, are useless with the usual number of steps and guidance."""
    for number, lora in enumerate(recipe.model.loras):
        found = recognize(_names(lora)) if any(lora.weight.values()) else None
        if found is None:
            continue
        wants, by = found
        if missing := wants.missing(recipe.generate.model_dump(), recipe.model.scheduler):
            yield Finding(
                f"by {by}, this is a LoRA of {wants.kind}, which wants {wants.text()}; the recipe has {', '.join(missing)}",
                (("model", "loras", number, "source"), ("model", "loras", number)),
                (wants.advice(),),
                warning=True,
            )


def _names(lora: Lora) -> Iterator[tuple[str, str]]:
    """What says what it is, before anybody has looked: no folder of this machine's."""
    if lora.file is not None:
        yield "its file's name", lora.file
    if lora.source.remote:
        yield "its source's name", lora.source.name
    else:
        yield "its file's name", lora.source.name.rstrip("/").rpartition("/")[2]
