"""The half of a VAE that turns pixels into latent images."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sdbuild.modeling import library
from sdbuild.modeling.latents import Latents, latents_of


def build(config: Mapping[str, Any], *, vae_scale: float | None = None) -> nn.Module:
    """``vae_scale``: what apps multiply the latent images by; None: the VAE's own numbers, whatever they are."""
    return _VAEEncoder(library.vae(config), latents_of(config, vae_scale))


def dimensions(config: Mapping[str, Any], *, vae_scale: float | None = None) -> dict[str, int]:
    """None: its ports are the family's."""
    return {}


class _VAEEncoder(nn.Module):
    """x [1, 3, H, W] in [-1, 1] → latent: C channels of means, then C of logarithms of variances [1, 2 C, h, w]."""

    def __init__(self, model: Any, latents: Latents) -> None:
        super().__init__()
        self.model = model
        self.latents = latents

    def forward(self, x: Tensor) -> tuple[Tensor]:
        moments = self.model.encoder(x)
        if self.model.quant_conv is not None:
            moments = self.model.quant_conv(moments)
        if self.latents.differ:
            mean, log_variance = moments.chunk(2, dim=1)
            mean = (mean - self.latents.shift) * (1 / self.latents.factor)
            moments = torch.cat([mean, log_variance - 2 * math.log(self.latents.factor)], dim=1)
        return (moments,)
