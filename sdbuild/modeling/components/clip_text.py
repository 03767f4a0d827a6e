"""A text encoder of CLIP, with or without a projection of the pooled output."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sdbuild.modeling import library


def build(config: Mapping[str, Any], *, layer: int | None = None) -> nn.Module:
    """``layer``: whose output the embeddings are, counted as transformers counts them, -2 for that before the last layer; by
    default the last one's, normalized.
    """
    return _TextEncoder(library.text_encoder(config), layer)


def dimensions(config: Mapping[str, Any], *, layer: int | None = None) -> dict[str, int]:
    """``hidden_size`` of the embeddings, and ``projection_dim`` of the pooled output that is projected."""
    return {key: config.get(key, 512) for key in ("hidden_size", "projection_dim")}  # transformers' own default


class _TextEncoder(nn.Module):
    """input_ids float32 [1, tokens] → embeddings [1, tokens, hidden_size], pooled output [1, N]."""

    def __init__(self, model: nn.Module, layer: int | None) -> None:
        super().__init__()
        self.model = model
        self.layer = layer

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        ids = input_ids.to(torch.int32)
        # Positions are given, for the model's own buffer of them has no content on the meta device.
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        options = {} if self.layer is None else {"output_hidden_states": True}
        result = self.model(ids, position_ids=positions, return_dict=True, **options)
        hidden = result.last_hidden_state if self.layer is None else result.hidden_states[self.layer]
        return hidden, result.text_embeds if hasattr(result, "text_embeds") else result.pooler_output
