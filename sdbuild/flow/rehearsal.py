"""Does a scheduler get through all of its steps? Known before a model is loaded, by taking them on a few numbers.

``set_timesteps`` of diffusers' schedulers accepts more than their ``step`` can do: with as many steps as the model was trained
with, times repeat (a division by zero, so not a number) or lie beyond the last one (an IndexError).
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.errors import UserError
from sdbuild.flow.denoise import Origin, begin, denoise
from sdbuild.flow.noise import Noise
from sdbuild.flow.schedulers import ERRORS
from sdbuild.wiring import Part

_SHAPE = (1, 1, 1, 1)
_DENOISER = Part(name="", role="denoiser", inputs={"latents": "latents"}, outputs={"noise": "noise"})


def rehearse(scheduler: Any, steps: int, strength: float | None = None) -> None:
    """Take all steps, as `denoise` will with a model; the scheduler serves no image after it.

    Args:
        scheduler: one of diffusers' after ``set_timesteps(steps)``.
        steps: how many.
        strength: where an image is started from, how much of it is made new: the first times are not visited then.

    Raises:
        UserError: a step fails, or numbers that are not finite come of it.
    """
    ones = np.ones(_SHAPE, np.float32)
    origin = None if strength is None else Origin(ones, ones, 1.0, strength)
    noise = Noise("torch", 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = begin(scheduler, noise, _SHAPE, steps, origin)
            result = denoise(_predict, _DENOISER, 1, scheduler, [{}], 1, start, noise.generator)
    except ERRORS as error:
        raise _refuse(scheduler, steps, str(error) or type(error).__name__) from None
    if not np.isfinite(result).all():
        raise _refuse(scheduler, steps, "numbers that are not finite come of them")


def _predict(given: Mapping[str, Array]) -> dict[str, Array]:
    """Any finite noise will do, but for none at all: what is not finite in a scheduler is a factor of it."""
    return {"noise": given["latents"]}


def _refuse(scheduler: Any, steps: int, why: str) -> UserError:
    trained = scheduler.config.num_train_timesteps
    advice = "take fewer steps, or another scheduler=" if steps > 1 else "choose another scheduler="
    return UserError(
        f"scheduler {type(scheduler).__name__}: can't take {steps} step{'s' * (steps > 1)} on a schedule of noise of "
        f"{trained} time{'s' * (trained > 1)} ({why}): {advice}"
    )
