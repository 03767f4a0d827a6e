"""The path from a prompt to an image, whoever computes the networks: the originals or the models of the bundle.

What lies between the networks is the same code and the same numbers on both sides: diffusers' scheduler of the model,
seeded noise, guidance. So images differ by what the networks do, and by nothing else.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from transformers import CLIPTokenizer
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from sdbuild.arrays import Array
from sdbuild.errors import UserError

Run = Callable[[str, Sequence[Array]], list[Array]]
"""A network: a name for the occasion, and arrays in the order of its inputs; gives arrays in the order of its outputs."""

_END, _SECOND_PADDING = "<|endoftext|>", "!"


@dataclass(frozen=True)
class Drawing:
    """What to draw, and the facts of the model that it takes.

    Attributes:
        height: of the image, in pixels.
        width: likewise.
        batch: of the UNet: 2 takes both halves of guidance at once, 1 one after the other.
        tokens: length of a prompt.
        latent_channels: of a latent image.
        vae_factor: pixels for one latent pixel, along each side.
        vae_scale: latents are divided by it before decoding.
        scheduler: the model's ``scheduler_config.json``.
        steps: of the scheduler.
        guidance: how far to go from the negative prompt to the prompt.
        seed: of the noise (NumPy's Mersenne Twister, as in the reference tool).
    """

    height: int
    width: int
    batch: int
    tokens: int
    latent_channels: int
    vae_factor: int
    vae_scale: float
    scheduler: Mapping[str, Any]
    steps: int = 8
    guidance: float = 7.5
    seed: int = 93


def tokenize(folder: Path, prompt: str, tokens: int, second: bool) -> Array:
    """Token ids, float32 [1, tokens], by the ``vocab.json`` and ``merges.txt`` of a folder.

    ``second``: for the second text encoder of SDXL, which pads in its own way.
    """
    tokenizer = CLIPTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        pad_token=_SECOND_PADDING if second else _END,
    )
    ids = tokenizer(prompt, padding="max_length", max_length=tokens, truncation=True).input_ids
    return np.array([ids], np.float32)


def condition(encoded: Sequence[Sequence[Sequence[Array]]], drawing: Drawing, xl: bool) -> list[Array]:
    """What the UNet takes beside latents and time, two rows each: negative prompt, prompt.

    Args:
        encoded: for each text encoder, its outputs (hidden [1, tokens, D], pooled [1, N]) for the negative prompt and for
            the prompt.
        drawing: for the image's size.
        xl: the UNet is also conditioned on the image's size and the pooled prompt.

    Returns:
        Context [2, D of all encoders, 1, tokens]; XL: time ids [2, 6] and pooled outputs of the last encoder [2, N], too.
    """
    hidden = [np.concatenate([outputs[0] for outputs in prompts]) for prompts in encoded]
    context = np.concatenate(hidden, axis=2).transpose(0, 2, 1)[:, :, None]
    return [context, _time_ids(drawing), np.concatenate([outputs[1] for outputs in encoded[-1]])] if xl else [context]


def arbitrary_condition(drawing: Drawing, width: int, pooled: int | None) -> list[Array]:
    """Normal numbers in the form of `condition`, for a UNet that is built without its text encoders.

    ``width`` of the context; ``pooled``: width of the pooled outputs, None for a UNet that takes none.
    """
    random = np.random.RandomState(drawing.seed)
    context = random.standard_normal((2, width, 1, drawing.tokens)).astype(np.float32)
    if pooled is None:
        return [context]
    return [context, _time_ids(drawing), random.standard_normal((2, pooled)).astype(np.float32)]


def _time_ids(drawing: Drawing) -> Array:
    """Original size, corner of the crop, target size, for both rows."""
    size = [drawing.height, drawing.width]
    return np.array([[*size, 0, 0, *size]] * 2, np.float32)


def denoise(unet: Run, conditions: Sequence[Array], drawing: Drawing) -> Array:
    """From seeded noise to a latent image [1, channels, h, w].

    Raises:
        UserError: diffusers has no such scheduler.
    """
    scheduler = _scheduler(drawing)
    shape = (1, drawing.latent_channels, drawing.height // drawing.vae_factor, drawing.width // drawing.vae_factor)
    noise = np.random.RandomState(drawing.seed).standard_normal(shape).astype(np.float32)
    latents = torch.from_numpy(noise) * scheduler.init_noise_sigma
    options: dict[str, Any] = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = torch.Generator().manual_seed(drawing.seed)  # for those that add noise in every step
    for time in scheduler.timesteps:
        sample = np.repeat(scheduler.scale_model_input(latents, time).numpy(), 2, axis=0)
        inputs = [sample, np.full(2, float(time), np.float32), *conditions]
        halves = {"": slice(0, 2)} if drawing.batch == 2 else {", unguided": slice(0, 1), ", guided": slice(1, 2)}
        rows = [unet(f"timestep {time:g}{half}", [each[rows] for each in inputs])[0] for half, rows in halves.items()]
        negative, positive = torch.from_numpy(np.concatenate(rows)).chunk(2)
        guided = negative + drawing.guidance * (positive - negative)
        latents = scheduler.step(guided, time, latents, return_dict=False, **options)[0]
    result: Array = latents.numpy()
    return result


def unet_calls(drawing: Drawing) -> int:
    """How often `denoise` runs the UNet."""
    return len(_scheduler(drawing).timesteps) * 2 // drawing.batch


def _scheduler(drawing: Drawing) -> Any:
    name = drawing.scheduler.get("_class_name", "PNDMScheduler")
    kind = getattr(diffusers, name, None)
    if kind is None:
        raise UserError(f"scheduler_config.json names {name}, which this version of diffusers does not have")
    scheduler = kind.from_config(dict(drawing.scheduler))
    scheduler.set_timesteps(drawing.steps)
    return scheduler


def pixels(image: Array) -> Array:
    """A decoded image, values from -1 to 1, as it is shown: from 0 to 1."""
    shown: Array = np.clip(image / 2 + 0.5, 0, 1)
    return shown


def looked_at(image: Array, size: int) -> list[Array]:
    """What a safety checker takes for a decoded image [1, 3, H, W]: the image as its vision model wants it,
    float32 [1, 3, size, size]; one to blank [1, 512, 512, 3] in [0, 1]; no adjustment [1].
    """
    shown = torch.from_numpy(pixels(image))

    def resized(side: int) -> torch.Tensor:
        return torch.nn.functional.interpolate(shown, (side, side), mode="bicubic", antialias=True).clamp(0, 1)

    mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    blank = resized(512).permute(0, 2, 3, 1)
    return [((resized(size) - mean) / deviation).numpy(), blank.contiguous().numpy(), np.zeros(1, np.float32)]


def picture(height: int, width: int) -> Array:
    """A picture to encode, float32 [1, 3, height, width] in [-1, 1]: soft light, a disc with a sharp edge, fine stripes."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    disc = np.hypot(x + 0.2, y - 0.1) < 0.5
    stripes = 0.2 * np.sin(40 * (x + y)) * (y < -0.5)
    channels = [
        np.where(disc, level, light) + stripes for level, light in ((0.8, x / 2), (-0.6, y / 2), (-0.2, -x * y))
    ]
    return np.stack(channels)[None].clip(-1, 1).astype(np.float32)
