"""A VAE's decoder, whose images are darker by a gain."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sdbuild.modeling import library


def build(config: Mapping[str, Any], *, gain: float, vae_scale: float | None = None) -> nn.Module:
    return _Dimmed(library.vae(config), gain)


def dimensions(config: Mapping[str, Any], *, gain: float, vae_scale: float | None = None) -> dict[str, int]:
    return {"depth": config["latent_channels"]}


class _Dimmed(nn.Module):
    def __init__(self, model: Any, gain: float) -> None:
        super().__init__()
        self.model = model
        self.gain = gain

    def forward(self, z: Tensor) -> tuple[Tensor]:
        return (self.model.decoder(self.model.post_quant_conv(z)) * self.gain,)
