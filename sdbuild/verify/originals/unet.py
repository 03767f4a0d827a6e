"""The UNet of Stable Diffusion 1, 2 and XL, as diffusers has it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from sdbuild.modeling import library
from sdbuild.verify.originals import Forward


def build(config: Mapping[str, Any], *, image_sizes: int = 0) -> tuple[nn.Module, Forward]:
    """``image_sizes``: how many numbers on the image's size it takes, with a pooled prompt; 0 for neither."""
    model: Any = library.unet(config)

    def forward(sample: Tensor, timestep: Tensor, context: Tensor, *added: Tensor) -> Sequence[Tensor]:
        conditions = dict(zip(("time_ids", "text_embeds"), added, strict=True)) if image_sizes else None
        return (model(sample, timestep, context.squeeze(2).transpose(1, 2), added_cond_kwargs=conditions).sample,)

    return model, forward
