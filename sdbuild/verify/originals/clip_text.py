"""A text encoder of CLIP, as transformers has it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdbuild.modeling import library
from sdbuild.verify.originals import Forward


def build(config: Mapping[str, Any], *, layer: int | None = None) -> tuple[nn.Module, Forward]:
    """``layer``: an index of transformers' ``hidden_states``, instead of the normalized output of the last layer."""
    model: Any = library.text_encoder(config)

    def forward(ids: Tensor) -> Sequence[Tensor]:
        # The model's own buffer of positions has no content on the meta device.
        positions = torch.arange(ids.shape[1])[None]
        result = model(ids.long(), position_ids=positions, output_hidden_states=layer is not None)
        embeddings = result.last_hidden_state if layer is None else result.hidden_states[layer]
        return embeddings, result.text_embeds if "text_embeds" in result else result.pooler_output

    return model, forward
