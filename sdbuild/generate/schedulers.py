"""diffusers' schedulers by short names. Nothing heavy is imported here."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sdbuild.errors import UsageError


@dataclass(frozen=True)
class Kind:
    """A class of diffusers, and what is set beside the model's numbers."""

    class_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


SCHEDULERS: Mapping[str, Kind] = {
    "ddim": Kind("DDIMScheduler"),
    "ddpm": Kind("DDPMScheduler"),
    "pndm": Kind("PNDMScheduler", {"skip_prk_steps": True}),
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
}
"""By the names that a command takes; it takes those of diffusers' classes as well."""

DEFAULT = "pndm"
"""For models that name none of their own."""


def find_scheduler(name: str) -> str:
    """The key of `SCHEDULERS` for a name as people write it: ``Euler-A``, ``DPMSolverMultistep``, ``DDIMScheduler``.

    Raises:
        UserError: there is no such scheduler; the nearest one is suggested.
    """
    wanted = _plain(name)
    for key, kind in SCHEDULERS.items():
        if wanted in (_plain(key), _plain(kind.class_name)):
            return key
    near = difflib.get_close_matches(wanted, [_plain(key) for key in SCHEDULERS], n=1)
    hint = "".join(f": did you mean '{key}'?" for key in SCHEDULERS if near == [_plain(key)])
    raise UsageError(f"scheduler={name}: unknown{hint}\nSchedulers: {', '.join(SCHEDULERS)}")


def _plain(name: str) -> str:
    return "".join(c for c in name.lower().removesuffix("scheduler") if c.isalnum())
