"""The UNet of Stable Diffusion 1, 2 and XL, in the Neural Engine's layout."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sdbuild.modeling import library
from sdbuild.modeling.channels_first import channels_first


def build(config: Mapping[str, Any], *, image_sizes: int = 0) -> nn.Module:
    """``image_sizes``: how many numbers on the image's size and place it takes, with a pooled prompt; 0 for neither."""
    model = library.unet(config)
    channels_first(model)
    return _ConditionedUNet(model) if image_sizes else _UNet(model)


def dimensions(config: Mapping[str, Any], *, image_sizes: int = 0) -> dict[str, int]:
    """``cross_attention_dim``; ``image_sizes``, and ``projection_dim`` of the pooled prompt, which share one row."""
    known = {"cross_attention_dim": config.get("cross_attention_dim", 1280)}  # diffusers' own default
    if image_sizes:
        row, size = config["projection_class_embeddings_input_dim"], config["addition_time_embed_dim"]
        known |= {"image_sizes": image_sizes, "projection_dim": row - image_sizes * size}
    return known


class _UNet(nn.Module):
    """sample [B, C, h, w], timestep [B], encoder_hidden_states [B, D, 1, tokens] → noise_pred [B, C, h, w]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> tuple[Tensor]:
        return (self.model(sample, timestep, encoder_hidden_states, return_dict=False)[0],)


class _ConditionedUNet(_UNet):
    """Also with time_ids [B, image_sizes] and text_embeds [B, projection_dim]."""

    def forward(  # type: ignore[override]
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, time_ids: Tensor, text_embeds: Tensor
    ) -> tuple[Tensor]:
        added = {"time_ids": time_ids, "text_embeds": text_embeds}
        result = self.model(sample, timestep, encoder_hidden_states, added_cond_kwargs=added, return_dict=False)
        return (result[0],)
