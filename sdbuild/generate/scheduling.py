"""A scheduler of diffusers, set up with the numbers of a model's own one."""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers

from sdbuild.errors import UserError
from sdbuild.generate.schedulers import DEFAULT, SCHEDULERS, Kind


def make_scheduler(name: str | None, numbers: Mapping[str, Any], steps: int, *, xl: bool) -> Any:
    """A scheduler of diffusers, ready for its first step.

    Args:
        name: a key of `SCHEDULERS`; None for the model's own class, or PNDM where it names none.
        numbers: the model's ``scheduler_config.json``. What the chosen class does not know of it is left out.
        steps: how many to take; some schedulers call the UNet more often.
        xl: the model is an SDXL; for others diffusers' pipelines correct old configurations, and so does this.

    Raises:
        UserError: the model's own class is not among `SCHEDULERS`, or it cannot do with these numbers.
    """
    kind = SCHEDULERS[name or DEFAULT]
    if name is None and "_class_name" in numbers:
        kind = Kind(str(numbers["_class_name"]))
        if kind.class_name not in (known.class_name for known in SCHEDULERS.values()):
            raise UserError(
                f"the model's own scheduler {kind.class_name} is not supported: choose another with scheduler=…, "
                f"one of {', '.join(SCHEDULERS)}"
            )
    scheduler_class = getattr(diffusers, kind.class_name)
    known = inspect.signature(scheduler_class.__init__).parameters
    settings = {**numbers, "clip_sample": False}  # latents are no pixels: they leave [-1, 1]
    if not xl:
        settings["steps_offset"] = 1
    settings |= kind.settings
    try:
        scheduler = scheduler_class(**{key: value for key, value in settings.items() if key in known})
        scheduler.set_timesteps(steps)
    except ImportError as error:
        raise UserError(f"scheduler {kind.class_name}: {error}") from None
    except (ValueError, TypeError, NotImplementedError, IndexError) as error:
        raise UserError(
            f"scheduler {kind.class_name}: {steps} steps cannot be made with the model's numbers: {error}"
        ) from None
    return scheduler


def unread(scheduler: Any, numbers: Mapping[str, Any]) -> list[str]:
    """What the user should know: that a scheduler's class has no place for something that the model was trained with."""
    known = inspect.signature(type(scheduler).__init__).parameters
    wanted = {
        "prediction_type": numbers.get("prediction_type", "epsilon") != "epsilon",
        "rescale_betas_zero_snr": bool(numbers.get("rescale_betas_zero_snr")),
        "timestep_spacing": numbers.get("timestep_spacing") == "trailing",
    }
    return [
        f"{type(scheduler).__name__} leaves the model's {key}: {str(numbers[key]).lower()} unread; draw with scheduler=ddim or "
        "euler for it"
        for key, matters in wanted.items()
        if matters and key not in known
    ]
