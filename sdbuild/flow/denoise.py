"""The loop over the scheduler's steps, from noise to a latent image, as diffusers' pipelines run it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from sdbuild.arrays import Array
from sdbuild.errors import UserError
from sdbuild.flow.backend import inputs_of, outputs_of
from sdbuild.flow.conditions import Condition
from sdbuild.flow.noise import Noise
from sdbuild.networks import Network
from sdbuild.wiring import Part


@dataclass(frozen=True)
class Step:
    """One run of the denoiser that is about to be made."""

    index: int
    """Of the scheduler's step, from 0: with guidance and batch 1 there are two runs in each."""
    inputs: Mapping[str, Array]
    """What the denoiser is going to be given, by port; the rows of the batch are those of the conditions."""


class Guide(Protocol):
    """More for the denoiser to go by than prompts: a mask, an image to edit, the results of a control network."""

    def inputs(self, step: Step) -> Mapping[str, Array]:
        """Arrays by port, [batch, …], to give beside ``step.inputs`` or in their place."""


@dataclass(frozen=True)
class Start:
    """Where the loop starts."""

    latents: torch.Tensor
    """float32 [1, channels, h, w]."""
    times: torch.Tensor
    """The scheduler's times to visit."""


@dataclass(frozen=True)
class Origin:
    """The encoded image to start from."""

    mean: Array
    """float32 [1, channels, h, w]."""
    deviation: Array
    """The standard deviation, likewise."""
    scale: float
    """Latents are multiplied by it."""
    strength: float
    """How much of the image to make anew, above 0 and up to 1."""


def begin(scheduler: Any, noise: Noise, shape: tuple[int, ...], steps: int = 0, origin: Origin | None = None) -> Start:
    """Start from noise of ``shape``; or from an image, at as many of the last of ``steps`` as its strength says.

    An image's encoding is drawn at random, too: after the noise with NumPy's numbers, as the Swift package does it, before it
    with torch's, as diffusers does it.

    Raises:
        UserError: the encoded image is of another shape.
    """
    if origin is None:
        return Start(noise.normal(*shape) * scheduler.init_noise_sigma, scheduler.timesteps)
    if origin.mean.shape != shape:
        raise UserError(
            f"the encoded image has shape {list(origin.mean.shape)}, and the denoiser starts from {list(shape)}"
        )
    first = (steps - int(steps * origin.strength)) * scheduler.order
    draws = [noise.normal(*shape) for _ in range(2)]
    added, drawn = draws if noise.rng == "numpy" else reversed(draws)
    latents = origin.scale * (torch.from_numpy(origin.mean) + torch.from_numpy(origin.deviation) * drawn)
    times = scheduler.timesteps[first:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return Start(scheduler.add_noise(latents, added, times[:1]), times)


def denoise(
    network: Network,
    denoiser: Part,
    batch: int,
    scheduler: Any,
    conditions: Sequence[Condition],
    guidance: float,
    start: Start,
    generator: torch.Generator,
    *,
    guides: Sequence[Guide] = (),
    report: Callable[[int, int], None] = lambda done, steps: None,
) -> Array:
    """Take all steps of one image.

    Args:
        network: the denoiser's, which takes ``batch`` rows at once.
        denoiser: what its ports carry.
        batch: 1, or 2 for two conditions in one run.
        scheduler: one of diffusers' after ``set_timesteps``; it keeps state and serves one image.
        conditions: the negative prompt's and the prompt's, or the prompt's alone.
        guidance: how far to go from the first to the second.
        start: see `begin`.
        generator: for schedulers that add noise.
        guides: what else the denoiser is given.
        report: called with the steps taken and their number.

    Returns:
        The latent image, float32 [1, channels, h, w].

    Raises:
        UserError: the denoiser takes something that nothing gives.
    """
    latents = start.latents
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    more = {"generator": generator} if takes_generator else {}
    report(0, len(start.times))
    for index, time in enumerate(start.times):
        sample = scheduler.scale_model_input(latents, time).numpy()
        predicted: list[Array] = []
        for first in range(0, len(conditions), batch):
            rows = [conditions[min(first + row, len(conditions) - 1)] for row in range(batch)]
            given = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
            given |= {"latents": np.repeat(sample, batch, 0), "time": np.full(batch, float(time), np.float32)}
            inputs = inputs_of(denoiser, given)
            for guide in guides:
                inputs |= guide.inputs(Step(index, inputs))
            if missing := [port for port in denoiser.inputs if port not in inputs]:
                raise UserError(f"{denoiser.name}: takes {', '.join(missing)}, too, and there is nothing to give it")
            predicted += np.split(outputs_of(denoiser, network(inputs))["noise"], batch)
        noise = predicted[0]
        if len(conditions) == 2:
            noise = noise + guidance * (predicted[1] - noise)
        latents = scheduler.step(torch.from_numpy(noise), time, latents, **more).prev_sample
        report(index + 1, len(start.times))
    result: Array = latents.numpy()
    return result


def count_runs(scheduler: Any, batch: int, conditions: int) -> int:
    """How often `denoise` runs the network from noise."""
    return len(scheduler.timesteps) * -(-conditions // batch)
