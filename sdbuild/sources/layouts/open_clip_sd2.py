"""The text encoder of Stable Diffusion 2.x: OpenCLIP's, of which the last layer is not used, and so is left out.

The UNet was trained on what the last layer but one gives, normalized ("penultimate" in the configurations of
Stability-AI/stablediffusion), which published diffusers folders have as an encoder with one layer less.
"""

from __future__ import annotations

import re

from sdbuild.sources.inferred import open_clip_config
from sdbuild.sources.layouts.base import Layout, Names, Shapes
from sdbuild.sources.layouts.open_clip import names

_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.")


def _names(tensors: Shapes) -> Names:
    return {name: taken for name, taken in names(tensors).items() if not _is_spare(name, tensors)}


def _spare(tensors: Shapes) -> set[str]:
    return {taken.key for name, taken in names(tensors).items() if _is_spare(name, tensors)}


def _is_spare(name: str, tensors: Shapes) -> bool:
    """The projection, which no pooled prompt is made with, and the last layer."""
    match = _LAYER.match(name)
    return name == "text_projection.weight" or (match is not None and int(match[1]) == _last(tensors))


def _last(tensors: Shapes) -> int:
    numbers = [key.split(".")[2] for key in tensors if key.startswith("transformer.resblocks.")]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


LAYOUT = Layout(
    prefixes=("cond_stage_model.model.",),
    marks=("token_embedding.weight", "transformer.resblocks.0.attn.in_proj_weight"),
    names=_names,
    config=open_clip_config,
    folder=lambda config: "text_encoder",
    spare=_spare,
)
