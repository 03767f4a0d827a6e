"""The UNet in diffusers' own names: the one file of its folder, or of a file that has all components side by side."""

from __future__ import annotations

from sdbuild.sources.inferred import unet_config
from sdbuild.sources.layouts.base import Layout, Names, Shapes, Taken, by_rules


def _names(tensors: Shapes) -> Names:
    known = (
        r"((?:conv_in|conv_out|conv_norm_out|time_embedding|add_embedding|class_embedding|(?:down|mid|up)_blocks?)\..+)"
    )
    return {name: Taken(key) for key, name in by_rules(tensors, ((known, r"\1"),))}


LAYOUT = Layout(
    prefixes=("unet.", ""),
    marks=("conv_in.weight", "conv_out.weight", "up_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight"),
    names=_names,
    config=unet_config,
    folder=lambda config: "unet",
)
