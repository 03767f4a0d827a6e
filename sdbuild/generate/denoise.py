"""The loop over the scheduler's steps, from noise to a latent image, as diffusers' pipelines run it."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sdbuild.arrays import Array
from sdbuild.generate.models import Condition, UNet
from sdbuild.generate.noise import Noise


@dataclass(frozen=True)
class Origin:
    """The encoded picture to start from.

    Attributes:
        mean: float32 [1, channels, h, w].
        deviation: likewise.
        scale: latents are multiplied by it.
        strength: how much to draw anew, above 0 and up to 1.
    """

    mean: Array
    deviation: Array
    scale: float
    strength: float


def denoise(
    unet: UNet,
    scheduler: Any,
    conditions: Sequence[Condition],
    guidance: float,
    start: tuple[torch.Tensor, torch.Tensor],
    generator: torch.Generator,
    report: Callable[[int, int], None],
) -> torch.Tensor:
    """Take all steps of one picture.

    Args:
        unet: the model.
        scheduler: one of diffusers' after ``set_timesteps``; it keeps state and serves one picture.
        conditions: the negative prompt's and the prompt's, or the prompt's alone.
        guidance: how far to go from the first to the second.
        start: the latent image to start from and the times to visit, see `begin`.
        generator: for schedulers that add noise.
        report: called with the steps taken and their number.

    Returns:
        The latent image, float32 [1, channels, h, w].
    """
    latents, times = start
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    more = {"generator": generator} if takes_generator else {}
    report(0, len(times))
    for done, time in enumerate(times, start=1):
        sample = scheduler.scale_model_input(latents, time)
        predicted = unet.predict(sample.numpy(), float(time), conditions)
        noise = predicted[-1]
        if len(predicted) == 2:
            noise = predicted[0] + guidance * (predicted[1] - predicted[0])
        latents = scheduler.step(torch.from_numpy(noise), time, latents, **more).prev_sample
        report(done, len(times))
    return latents


def begin(
    scheduler: Any, noise: Noise, shape: tuple[int, ...], steps: int, origin: Origin | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where to start, float32 of ``shape``, and the times to visit.

    From a picture, as many of the last of ``steps`` as its strength says. Its encoding is drawn at random, too: after
    the noise with NumPy's numbers, as the Swift package does it, before it with torch's, as diffusers does it.
    """
    if origin is None:
        return noise.normal(*shape) * scheduler.init_noise_sigma, scheduler.timesteps
    first = (steps - int(steps * origin.strength)) * scheduler.order
    draws = [noise.normal(*shape) for _ in range(2)]
    added, drawn = draws if noise.rng == "numpy" else reversed(draws)
    latents = origin.scale * (torch.from_numpy(origin.mean) + torch.from_numpy(origin.deviation) * drawn)
    times = scheduler.timesteps[first:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return scheduler.add_noise(latents, added, times[:1]), times
