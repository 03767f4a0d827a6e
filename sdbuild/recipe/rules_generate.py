"""Rules on how images are to be generated with what is built."""

from __future__ import annotations

from collections.abc import Iterator

from sdbuild.recipe.model import Recipe
from sdbuild.recipe.rules import Finding, rule
from sdbuild.recipe.written import WrittenRecipe
from sdbuild.scheduler_kinds import CONSISTENCY, INSTEAD_OF_CONSISTENCY, SCHEDULERS


@rule("generate")
def the_app_has_the_scheduler(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """The Swift package has none of the kind that adds noise on the way to a consistency model's image."""
    name = recipe.generate.scheduler
    if name is not None and SCHEDULERS[name].class_name in CONSISTENCY:
        yield Finding(
            f"the Swift package has no scheduler {name}, and its PNDM and DPM-Solver++ don't do for models that want one: "
            "this is for an app with a scheduler of its own",
            (("generate", "scheduler"),),
            (INSTEAD_OF_CONSISTENCY,),
            warning=True,
        )


@rule("generate", "model")
def guidance_is_given_once(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """A UNet with guidance built in was distilled to need no other."""
    if recipe.model.guidance_embedding is not None and not recipe.generate.unguided:
        scale = recipe.model.guidance_embedding
        yield Finding(
            f"guidance is built into the UNet (`guidance_embedding: {scale:g}`), and it takes no other",
            (("generate", "guidance"), ("model", "guidance_embedding")),
            ("remove the key: guidance_embedding alone says how much",),
        )


@rule("generate", "batch", "pipeline", "components")
def half_of_the_batch_is_idle(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Without guidance one row is enough, where the Swift package takes such a UNet."""
    guidance = recipe.generate.guidance
    if recipe.generate.unguided and recipe.batch == 2 and 1 in recipe.family.batches:
        yield Finding(
            f"guidance {guidance:g} is none, and a UNet of batch 2 computes as much for it as with guidance",
            (("generate", "guidance"),),
            (
                "write batch: 1 for half the work a step; an app with Apple's Swift package then sets guidanceScale to 0",
            ),
            warning=True,
        )
