"""OpenCLIP's text encoder: that of Stable Diffusion 2.x, and the larger one of XL.

Queries, keys and values are one matrix, ``in_proj_weight`` [3 width, width], as torch's MultiheadAttention has it. The
projection is a matrix that is multiplied from the right, where transformers' linear layer has it from the left.
"""

from __future__ import annotations

from sdbuild.sources.inferred import open_clip_config
from sdbuild.sources.layouts.base import Layout, Names, Rules, Shapes, Taken, by_rules

_ALIKE: Rules = (
    (r"positional_embedding", r"text_model.embeddings.position_embedding.weight"),
    (r"token_embedding\.weight", r"text_model.embeddings.token_embedding.weight"),
    (r"ln_final\.(.+)", r"text_model.final_layer_norm.\1"),
    (r"transformer\.resblocks\.(\d+)\.ln_([12])\.(.+)", r"text_model.encoder.layers.\1.layer_norm\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.+)", r"text_model.encoder.layers.\1.self_attn.out_proj.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.+)", r"text_model.encoder.layers.\1.mlp.fc1.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.+)", r"text_model.encoder.layers.\1.mlp.fc2.\2"),
    (r"text_projection\.weight", r"text_projection.weight"),
)
_FUSED: Rules = (
    (
        r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)",
        r"text_model.encoder.layers.\1.self_attn.{}_proj.\2",
    ),
)


def names(tensors: Shapes) -> Names:
    """By transformers' names."""
    found = {name: Taken(key) for key, name in by_rules(tensors, _ALIKE)}
    for key, name in by_rules(tensors, _FUSED):
        for part, letter in enumerate("qkv"):
            found[name.format(letter)] = Taken(key, part, 3)
    if "text_projection" in tensors:
        found["text_projection.weight"] = Taken("text_projection", transposed=True)
    return found


LAYOUT = Layout(
    prefixes=("conditioner.embedders.1.model.", "conditioner.embedders.0.model.", ""),
    marks=("token_embedding.weight", "transformer.resblocks.0.attn.in_proj_weight"),
    names=names,
    config=open_clip_config,
    folder=lambda config: "text_encoder_2",
)
