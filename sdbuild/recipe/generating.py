"""What a recipe says of generating with its bundle: the defaults of whoever does, by the names that `generate` has for them."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from sdbuild.generate_variables import MAX_GUIDANCE, MAX_STEPS
from sdbuild.recipe.fields import Strict, offer, wrong
from sdbuild.recipe.problems import allowed, hint
from sdbuild.scheduler_kinds import SCHEDULERS, key_of


def _scheduler(name: str) -> str:
    if name not in SCHEDULERS:
        known = key_of(name)
        near = (f"did you mean '{known}'?",) if known else hint(name, SCHEDULERS)
        raise wrong(f"no scheduler '{name}'", *near, allowed(SCHEDULERS))
    return name


class Generate(Strict):
    """How images are to be generated with the bundle, for the app and for `generate`; nothing is built in another way."""

    steps: int | None = Field(
        default=None, ge=1, le=MAX_STEPS, description="Steps of the scheduler; default: 20.", examples=[4]
    )
    guidance: float | None = Field(
        default=None,
        ge=0,
        le=MAX_GUIDANCE,
        description="How far to go from the negative prompt to the prompt; up to 1 the prompt alone counts; default: 7.5.",
        examples=[7.5, 1],
    )
    scheduler: Annotated[str, AfterValidator(_scheduler)] | None = Field(
        default=None,
        description="Which scheduler takes the steps, by the names of `generate`; default: the model's own.",
        examples=["lcm"],
        json_schema_extra=lambda schema: offer(schema, list(SCHEDULERS)),
    )

    @property
    def unguided(self) -> bool:
        """The prompt alone counts, for the app as for diffusers."""
        return self.guidance is not None and self.guidance <= 1

    def defaults(self, batch: int) -> dict[str, Any]:
        """What is said, as the manifest has it for an app with a denoiser of a batch.

        Guidance of 1 and below is none for diffusers. The Swift package's pipeline of Stable Diffusion 1 and 2 has none below
        1, where it wants a denoiser of batch 1; at 1, and that of XL always, it runs both halves, and 1 gives the prompt's.
        """
        said = self.model_dump(exclude_none=True)
        return said | ({"guidance": float(batch - 1)} if self.unguided else {})
