"""The UNet of Stable Diffusion 1, 2 and XL, as diffusers has it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdbuild.modeling import library
from sdbuild.verify.originals import Forward


def build(
    config: Mapping[str, Any], *, image_sizes: int = 0, guidance_embedding: float | None = None
) -> tuple[nn.Module, Forward]:
    """``image_sizes``: how many numbers on the image's size it takes, with a pooled prompt; 0 for neither.

    ``guidance_embedding``: the pipeline's ``guidance_scale``, of a UNet that takes it.
    """
    model: Any = library.unet(config)

    def forward(sample: Tensor, timestep: Tensor, context: Tensor, *added: Tensor) -> Sequence[Tensor]:
        conditions = dict(zip(("time_ids", "text_embeds"), added, strict=True)) if image_sizes else None
        guidance = None if guidance_embedding is None else _embedded(guidance_embedding, config["time_cond_proj_dim"])
        context = context.squeeze(2).transpose(1, 2)
        return (model(sample, timestep, context, timestep_cond=guidance, added_cond_kwargs=conditions).sample,)

    return model, forward


def _embedded(scale: float, width: int) -> Tensor:
    """As the pipeline does it; its method asks nothing of the pipeline."""
    from diffusers import LatentConsistencyModelPipeline  # takes a second, for few UNets

    embed: Any = LatentConsistencyModelPipeline.get_guidance_scale_embedding
    result: Tensor = embed(None, torch.tensor([scale - 1]), embedding_dim=width)
    return result
