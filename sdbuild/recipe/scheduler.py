"""What a recipe says of a model's scheduler: keys of diffusers' ``scheduler_config.json``, laid over the model's own."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from sdbuild.recipe.fields import Strict, offer, wrong
from sdbuild.recipe.problems import allowed, hint
from sdbuild.scheduler_kinds import SCHEDULERS, key_of

_CLASSES = list(dict.fromkeys(kind.class_name for kind in SCHEDULERS.values()))


def _class_name(name: str) -> str:
    if name not in _CLASSES:
        known = key_of(name)
        near = (f"did you mean '{SCHEDULERS[known].class_name}'?",) if known else hint(name, _CLASSES)
        raise wrong(f"no scheduler of diffusers for these models is called '{name}'", *near, allowed(_CLASSES))
    return name


_Beta = Annotated[float, Field(gt=0, lt=1)]
_Sigma = Annotated[float, Field(ge=0, le=1e4)]


class Scheduler(Strict):
    """Numbers of the model's scheduler that are not as its own configuration has them; the rest stays as it is there."""

    class_name: Annotated[str, AfterValidator(_class_name)] | None = Field(
        default=None,
        alias="_class_name",
        description="The scheduler of diffusers that the model is for.",
        json_schema_extra=lambda schema: offer(schema, _CLASSES),
    )
    timestep_spacing: Literal["linspace", "leading", "trailing"] | None = Field(
        default=None,
        description="How times lie among all: trailing, from the very last, is for Turbo, Lightning and Hyper.",
    )
    prediction_type: Literal["epsilon", "v_prediction"] | None = Field(
        default=None, description="What the UNet predicts: noise (epsilon), or v."
    )
    rescale_betas_zero_snr: bool | None = Field(default=None, description="The schedule ends in noise alone.")
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] | None = Field(
        default=None, description="How betas rise."
    )
    beta_start: _Beta | None = Field(default=None, description="The first beta.")
    beta_end: _Beta | None = Field(default=None, description="The last beta.")
    num_train_timesteps: int | None = Field(default=None, ge=1, le=100_000, description="Times of the schedule.")
    steps_offset: int | None = Field(default=None, ge=0, le=1000, description="Added to the times of spacing leading.")
    set_alpha_to_one: bool | None = Field(default=None, description="The last step goes to no noise at all.")
    original_inference_steps: int | None = Field(
        default=None, ge=1, le=1000, description="Steps of distillation, of LCM and TCD."
    )
    timestep_scaling: float | None = Field(
        default=None, gt=0, le=1000, description="How steep the boundary is, of LCM and TCD."
    )
    final_sigmas_type: Literal["zero", "sigma_min"] | None = Field(
        default=None, description="Where the last step goes."
    )
    sigma_min: _Sigma | None = Field(default=None, description="Least noise, of Euler and UniPC.")
    sigma_max: _Sigma | None = Field(default=None, description="Most noise, of Euler.")
    interpolation_type: Literal["linear", "log_linear"] | None = Field(
        default=None, description="Of noise between times, of Euler."
    )
    timestep_type: Literal["discrete", "continuous"] | None = Field(default=None, description="Of Euler.")
    use_karras_sigmas: bool | None = Field(default=None, description="Noise levels as Karras et al. have them.")
    use_exponential_sigmas: bool | None = Field(default=None, description="Exponential noise levels.")
    use_beta_sigmas: bool | None = Field(default=None, description="Noise levels by a beta distribution.")
    use_lu_lambdas: bool | None = Field(default=None, description="Uniform steps in log SNR, of DPM-Solver++.")
    algorithm_type: Literal["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++", "deis"] | None = Field(
        default=None, description="Of DPM-Solver++ and DEIS."
    )
    solver_type: Literal["midpoint", "heun", "bh1", "bh2", "logrho"] | None = Field(
        default=None, description="Of DPM-Solver++, UniPC and DEIS."
    )
    solver_order: int | None = Field(default=None, ge=1, le=3, description="Of the same.")
    lower_order_final: bool | None = Field(default=None, description="Lower order in the last steps, of the same.")
    euler_at_final: bool | None = Field(default=None, description="Euler's method in the last step, of DPM-Solver++.")
    skip_prk_steps: bool | None = Field(default=None, description="Of PNDM.")

    def said(self) -> dict[str, Any]:
        """What the recipe says, by the names of diffusers."""
        return self.model_dump(by_alias=True, exclude_none=True)
