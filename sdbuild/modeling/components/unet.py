"""The UNet of Stable Diffusion 1, 2 and XL, in the Neural Engine's layout."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sdbuild.errors import SourceError
from sdbuild.modeling import library
from sdbuild.modeling.channels_first import channels_first
from sdbuild.modeling.guidance import guidance_embedding as embed_guidance


def build(config: Mapping[str, Any], *, image_sizes: int = 0, guidance_embedding: float | None = None) -> nn.Module:
    """``image_sizes``: how many numbers on the image's size and place it takes, with a pooled prompt; 0 for neither.

    ``guidance_embedding``: the guidance scale that one with ``time_cond_proj_dim`` is given, for good.
    """
    width = config.get("time_cond_proj_dim")
    if (width is None) != (guidance_embedding is None):
        raise SourceError("trace: guidance_embedding is for a UNet with time_cond_proj_dim, and for no other")
    model = library.unet(config)
    channels_first(model)
    guidance = None if width is None or guidance_embedding is None else (guidance_embedding, width)
    return _ConditionedUNet(model, guidance) if image_sizes else _UNet(model, guidance)


def dimensions(
    config: Mapping[str, Any], *, image_sizes: int = 0, guidance_embedding: float | None = None
) -> dict[str, int]:
    """``cross_attention_dim``; ``image_sizes``, and ``projection_dim`` of the pooled prompt, which share one row."""
    known = {"cross_attention_dim": config.get("cross_attention_dim", 1280)}  # diffusers' own default
    if image_sizes:
        row, size = config["projection_class_embeddings_input_dim"], config["addition_time_embed_dim"]
        known |= {"image_sizes": image_sizes, "projection_dim": row - image_sizes * size}
    return known


class _UNet(nn.Module):
    """sample [B, C, h, w], timestep [B], encoder_hidden_states [B, D, 1, tokens] → noise_pred [B, C, h, w]."""

    def __init__(self, model: nn.Module, guidance: tuple[float, int] | None) -> None:
        """``guidance``: its scale, and how many numbers it is embedded in."""
        super().__init__()
        self.model = model
        self.guidance = guidance

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> tuple[Tensor]:
        return self._run(sample, timestep, encoder_hidden_states)

    def _run(self, sample: Tensor, *conditions: Tensor, **added: Any) -> tuple[Tensor]:
        if self.guidance is not None:
            added["timestep_cond"] = embed_guidance(*self.guidance, sample.device)
        return (self.model(sample, *conditions, **added, return_dict=False)[0],)


class _ConditionedUNet(_UNet):
    """Also with time_ids [B, image_sizes] and text_embeds [B, projection_dim]."""

    def forward(  # type: ignore[override]
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, time_ids: Tensor, text_embeds: Tensor
    ) -> tuple[Tensor]:
        added = {"time_ids": time_ids, "text_embeds": text_embeds}
        return self._run(sample, timestep, encoder_hidden_states, added_cond_kwargs=added)
