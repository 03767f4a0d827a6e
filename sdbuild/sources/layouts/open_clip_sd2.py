"""The text encoder of Stable Diffusion 2.x: OpenCLIP's, of which the last layer is not used, and so is left out.

The UNet was trained on what the last layer but one gives, normalized ("penultimate" in the configurations of
Stability-AI/stablediffusion), which published diffusers folders have as an encoder with one layer less. Files that were made of
such a folder, as Waifu Diffusion 1.4 is, have that layer less as well, and all of theirs are used.
"""

from __future__ import annotations

from sdbuild.sources.inferred import open_clip_config
from sdbuild.sources.layouts.base import Layout, Names, Shapes
from sdbuild.sources.layouts.open_clip import names

_LAST = "text_model.encoder.layers.23."
"""Of ViT-H/14, which all models of 2.x have."""


def _names(tensors: Shapes) -> Names:
    return {name: taken for name, taken in names(tensors).items() if not _is_spare(name)}


def _spare(tensors: Shapes) -> set[str]:
    return {taken.key for name, taken in names(tensors).items() if _is_spare(name)}


def _is_spare(name: str) -> bool:
    """The projection, which no pooled prompt is made with, and the last layer."""
    return name == "text_projection.weight" or name.startswith(_LAST)


LAYOUT = Layout(
    prefixes=("cond_stage_model.model.",),
    marks=("token_embedding.weight", "transformer.resblocks.0.attn.in_proj_weight"),
    names=_names,
    config=open_clip_config,
    folder=lambda config: "text_encoder",
    spare=_spare,
)
