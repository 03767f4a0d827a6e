"""What verification generates an image of, and the facts of the model that it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Drawing:
    """How an image is generated, by the originals and by what ships alike."""

    height: int
    """Of the image, in pixels."""
    width: int
    """Likewise."""
    batch: int
    """Of the denoiser: 2 takes both halves of guidance at once, 1 one after the other."""
    tokens: int
    """Length of a prompt."""
    latent_channels: int
    """Of a latent image."""
    vae_factor: int
    """Pixels for one latent pixel, along each side."""
    vae_scale: float
    """Latents are divided by it before decoding."""
    scheduler: Mapping[str, Any]
    """The model's ``scheduler_config.json``."""
    scheduler_overrides: Mapping[str, Any] = field(default_factory=dict)
    """What a scheduler is made with, whatever that says."""
    steps: int = 8
    """Of the scheduler."""
    guidance: float = 7.5
    """How far to go from the negative prompt to the prompt."""
    seed: int = 93
    """Of the noise (NumPy's Mersenne Twister, as in the reference tool)."""
