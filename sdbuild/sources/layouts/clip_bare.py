"""CLIP's text encoder without the level ``text_model``, as transformers 5 saves it, and some merges of models have it."""

from __future__ import annotations

from sdbuild.sources.inferred import clip_config
from sdbuild.sources.layouts.base import Layout, Names, Shapes, Taken, by_rules


def _names(tensors: Shapes) -> Names:
    kept = by_rules(tensors, ((r"((?:embeddings\.\w+_embedding|encoder|final_layer_norm)\..+)", r"text_model.\1"),))
    return {name: Taken(key) for key, name in kept}


LAYOUT = Layout(
    prefixes=("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.", "text_encoder.", ""),
    marks=("embeddings.token_embedding.weight", "encoder.layers.0.self_attn.q_proj.weight"),
    names=_names,
    config=clip_config,
    folder=lambda config: "text_encoder",
)
