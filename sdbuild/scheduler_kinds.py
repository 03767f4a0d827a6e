"""Which of diffusers' schedulers, by the short names that recipes and `generate` take. Nothing heavy is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A class of diffusers, and what is set beside the model's numbers."""

    class_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


PNDM = Kind("PNDMScheduler", {"skip_prk_steps": True})
"""For models that name none of their own."""

SCHEDULERS: Mapping[str, Kind] = {
    "ddim": Kind("DDIMScheduler"),
    "ddpm": Kind("DDPMScheduler"),
    "pndm": PNDM,
    "dpmpp": Kind("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmpp_karras": Kind("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "dpmpp_sde": Kind("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_single": Kind("DPMSolverSinglestepScheduler", {"lower_order_final": True}),
    "deis": Kind("DEISMultistepScheduler"),
    "unipc": Kind("UniPCMultistepScheduler"),
    "euler": Kind("EulerDiscreteScheduler"),
    "euler_a": Kind("EulerAncestralDiscreteScheduler"),
    "heun": Kind("HeunDiscreteScheduler"),
    "lms": Kind("LMSDiscreteScheduler"),
    "dpm2": Kind("KDPM2DiscreteScheduler"),
    "dpm2_a": Kind("KDPM2AncestralDiscreteScheduler"),
    "lcm": Kind("LCMScheduler"),
    "tcd": Kind("TCDScheduler"),
}
"""By the names that a command takes; it takes those of diffusers' classes as well."""

CONSISTENCY = tuple(SCHEDULERS[name].class_name for name in ("lcm", "tcd"))
"""Classes whose steps go to the end of the noise and, with new noise, back: no solver of an equation can stand for them."""

INSTEAD_OF_CONSISTENCY = (
    "for the package as it is take a model of few ordinary steps instead (Turbo, Lightning), with DPM-Solver++"
)
"""What to do in an app that has none of these: see docs/few-steps.md."""


def lacking_consistency(class_name: str) -> str:
    """What an app's author should know of a model for one of `CONSISTENCY`."""
    return (
        f"images come out wrong with the Swift package's schedulers, PNDM and DPM-Solver++, as the model wants {class_name}, "
        "which adds new noise after each step to where the noise ends. The app must bring a scheduler of its own, by "
        f"manifest.json's `scheduler`; {INSTEAD_OF_CONSISTENCY}"
    )


def own_kind(numbers: Mapping[str, Any]) -> Kind:
    """The model's own kind."""
    return Kind(str(numbers["_class_name"])) if "_class_name" in numbers else PNDM


def key_of(name: str) -> str | None:
    """The key of `SCHEDULERS` for a name as people write it: ``Euler-A``, ``DPMSolverMultistep``, ``DDIMScheduler``."""
    wanted = plain(name)
    return next((key for key, kind in SCHEDULERS.items() if wanted in (plain(key), plain(kind.class_name))), None)


def plain(name: str) -> str:
    """A name without what people write in several ways."""
    return "".join(c for c in name.lower().removesuffix("scheduler") if c.isalnum())
