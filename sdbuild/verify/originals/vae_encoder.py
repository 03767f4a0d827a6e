"""The encoding half of a VAE, as diffusers has it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdbuild.modeling import library
from sdbuild.verify.originals import Forward


def build(config: Mapping[str, Any], *, vae_scale: float | None = None) -> tuple[nn.Module, Forward]:
    """``vae_scale``: what the latent images will be multiplied by; None: by the VAE's own ``scaling_factor``."""
    model: Any = library.vae(config)
    ratio = float(model.config.scaling_factor / (vae_scale or model.config.scaling_factor))

    def forward(image: Tensor) -> Sequence[Tensor]:
        mean, log_variance = model.encode(image).latent_dist.parameters.chunk(2, dim=1)
        mean = (mean - (model.config.shift_factor or 0)) * ratio
        return (torch.cat([mean, log_variance + 2 * math.log(ratio)], 1),)

    return model, forward
