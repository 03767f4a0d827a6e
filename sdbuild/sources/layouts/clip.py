"""CLIP's text encoder in transformers' own names, behind the prefixes of several tools."""

from __future__ import annotations

from typing import Any

from sdbuild.sources.inferred import clip_config
from sdbuild.sources.layouts.base import Layout, Names, Shapes, Taken, by_rules

_LARGER = 1280  # the width of XL's second encoder


def _names(tensors: Shapes) -> Names:
    kept = by_rules(tensors, ((r"(text_model\.(?:embeddings\.\w+_embedding|encoder|final_layer_norm)\..+)", r"\1"),))
    found = {name: Taken(key) for key, name in kept}
    if "text_projection.weight" in tensors:
        found["text_projection.weight"] = Taken("text_projection.weight")
    return found


def _folder(config: dict[str, Any]) -> str:
    return "text_encoder_2" if config["hidden_size"] >= _LARGER else "text_encoder"


LAYOUT = Layout(
    prefixes=(
        "cond_stage_model.transformer.",
        "conditioner.embedders.0.transformer.",
        "text_encoders.clip_l.transformer.",
        "text_encoders.clip_g.transformer.",
        "text_encoder.",
        "text_encoder_2.",
        "",
    ),
    marks=("text_model.embeddings.token_embedding.weight", "text_model.encoder.layers.0.self_attn.q_proj.weight"),
    names=_names,
    config=clip_config,
    folder=_folder,
)
