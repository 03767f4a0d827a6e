"""A scheduler of diffusers, set up with the numbers of a model's own one. diffusers is imported when one is made."""

import inspect
from collections.abc import Mapping
from typing import Any

from sdbuild.errors import UserError
from sdbuild.scheduler_kinds import Kind

_LATENT = {"clip_sample": False}
"""Latent images are no pixels: they leave [-1, 1]. diffusers' pipelines correct configurations in this, too."""

ERRORS = (ValueError, TypeError, NotImplementedError, IndexError, RuntimeError, ArithmeticError, AssertionError)
"""What diffusers' schedulers raise for numbers or counts of steps that they can't do with."""


def make_scheduler(kind: Kind, numbers: Mapping[str, Any], steps: int, overrides: Mapping[str, Any]) -> Any:
    """A scheduler of diffusers, ready for its first step.

    Args:
        kind: the class; what it does not know of the numbers is left out.
        numbers: the model's ``scheduler_config.json``.
        steps: how many to take; some schedulers call the denoiser more often.
        overrides: what goes before the numbers.

    Raises:
        UserError: diffusers has no such scheduler, or it cannot do with these numbers.
    """
    import diffusers

    scheduler_class = getattr(diffusers, kind.class_name, None)
    if scheduler_class is None:
        raise UserError(f"scheduler_config.json names {kind.class_name}, which this version of diffusers does not have")
    known = inspect.signature(scheduler_class.__init__).parameters
    settings = {**numbers, **_LATENT, **overrides, **kind.settings}
    try:
        scheduler = scheduler_class(**{key: value for key, value in settings.items() if key in known})
        scheduler.set_timesteps(steps)
    except ImportError as error:
        raise UserError(f"scheduler {kind.class_name}: {error}") from None
    except ERRORS as error:
        raise UserError(
            f"scheduler {kind.class_name}: {steps} steps cannot be made with the model's numbers: {error}"
        ) from None
    return scheduler
