"""The half of a VAE that turns latent images into pixels."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sdbuild.modeling import library
from sdbuild.modeling.latents import Latents, latents_of


def build(config: Mapping[str, Any], *, vae_scale: float | None = None) -> nn.Module:
    """``vae_scale``: what apps divided the latent images by; None: the VAE's own numbers, whatever they are."""
    return _VAEDecoder(library.vae(config), latents_of(config, vae_scale))


def dimensions(config: Mapping[str, Any], *, vae_scale: float | None = None) -> dict[str, int]:
    """None: its ports are the family's."""
    return {}


class _VAEDecoder(nn.Module):
    """z [1, C, h, w] → image [1, 3, H, W] in [-1, 1]."""

    def __init__(self, model: Any, latents: Latents) -> None:
        super().__init__()
        self.model = model
        self.latents = latents

    def forward(self, z: Tensor) -> tuple[Tensor]:
        if self.latents.differ:
            z = z * self.latents.factor + self.latents.shift
        if self.model.post_quant_conv is not None:
            z = self.model.post_quant_conv(z)
        return (self.model.decoder(z),)
