"""A ControlNet in the names of its first publication (lllyasviel/ControlNet): the way down of a UNet, and zero convolutions."""

from __future__ import annotations

from sdbuild.sources.inferred import controlnet_config
from sdbuild.sources.layouts.base import Layout, Names, Rules, Shapes, Taken, by_rules
from sdbuild.sources.layouts.ldm_unet import unet_names

_HINT = 7  # convolutions of the image that guides, every second module, before the last
_OWN: Rules = (
    (r"zero_convs\.(\d+)\.0\.(.+)", r"controlnet_down_blocks.\1.\2"),
    (r"middle_block_out\.0\.(.+)", r"controlnet_mid_block.\1"),
    (r"input_hint_block\.0\.(.+)", r"controlnet_cond_embedding.conv_in.\1"),
    *(
        (rf"input_hint_block\.{2 * number}\.(.+)", rf"controlnet_cond_embedding.blocks.{number - 1}.\1")
        for number in range(1, _HINT)
    ),
    (rf"input_hint_block\.{2 * _HINT}\.(.+)", r"controlnet_cond_embedding.conv_out.\1"),
)


def _names(tensors: Shapes) -> Names:
    return {**unet_names(tensors), **{name: Taken(key) for key, name in by_rules(tensors, _OWN)}}


LAYOUT = Layout(
    prefixes=("control_model.", ""),
    marks=("input_hint_block.0.weight", "zero_convs.0.0.weight", "input_blocks.0.0.weight"),
    names=_names,
    config=controlnet_config,
    folder=lambda config: "controlnet",
)
