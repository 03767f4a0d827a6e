"""The decoding half of a VAE, as diffusers has it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from sdbuild.modeling import library
from sdbuild.verify.originals import Forward


def build(config: Mapping[str, Any], *, vae_scale: float | None = None) -> tuple[nn.Module, Forward]:
    """``vae_scale``: what the latent images were divided by; None: by the VAE's own ``scaling_factor``."""
    model: Any = library.vae(config)
    ratio = float(model.config.scaling_factor / (vae_scale or model.config.scaling_factor))

    def forward(z: Tensor) -> Sequence[Tensor]:
        return (model.decode(z * (1 / ratio) + (model.config.shift_factor or 0)).sample,)

    return model, forward
