"""A ControlNet in diffusers' own names."""

from __future__ import annotations

from sdbuild.sources.inferred import controlnet_config
from sdbuild.sources.layouts.base import Layout, Names, Shapes, Taken, by_rules


def _names(tensors: Shapes) -> Names:
    known = r"((?:conv_in|time_embedding|add_embedding|down_blocks|mid_block|controlnet_\w+)\..+)"
    return {name: Taken(key) for key, name in by_rules(tensors, ((known, r"\1"),))}


LAYOUT = Layout(
    prefixes=("controlnet.", ""),
    marks=("controlnet_cond_embedding.conv_in.weight", "controlnet_down_blocks.0.weight", "conv_in.weight"),
    names=_names,
    config=controlnet_config,
    folder=lambda config: "controlnet",
)
