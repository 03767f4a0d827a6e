"""The UNet in the names of the first Stable Diffusion (CompVis' latent-diffusion), which trainers of all families keep."""

from __future__ import annotations

from collections.abc import Iterable

from sdbuild.sources.inferred import unet_config
from sdbuild.sources.layouts.base import Layout, Names, Rules, Shapes, Taken, by_rules

RESNET: Rules = (
    (r"in_layers\.0\.(.+)", r"norm1.\1"),
    (r"in_layers\.2\.(.+)", r"conv1.\1"),
    (r"emb_layers\.1\.(.+)", r"time_emb_proj.\1"),
    (r"out_layers\.0\.(.+)", r"norm2.\1"),
    (r"out_layers\.3\.(.+)", r"conv2.\1"),
    (r"skip_connection\.(.+)", r"conv_shortcut.\1"),
)
"""Inside a residual block; attention has diffusers' names already."""
_AROUND: Rules = (
    (r"time_embed\.0\.(.+)", r"time_embedding.linear_1.\1"),
    (r"time_embed\.2\.(.+)", r"time_embedding.linear_2.\1"),
    (r"time_embed\.cond_proj\.(.+)", r"time_embedding.cond_proj.\1"),
    (r"label_emb\.0\.0\.(.+)", r"add_embedding.linear_1.\1"),
    (r"label_emb\.0\.2\.(.+)", r"add_embedding.linear_2.\1"),
    (r"label_emb\.weight", r"class_embedding.weight"),
    (r"input_blocks\.0\.0\.(.+)", r"conv_in.\1"),
    (r"out\.0\.(.+)", r"conv_norm_out.\1"),
    (r"out\.2\.(.+)", r"conv_out.\1"),
)


def unet_names(tensors: Shapes) -> Names:
    """By diffusers' names, what is known of a UNet's or a ControlNet's keys.

    The blocks are numbered through in the file, and by resolution in diffusers: a block that changes the resolution ends a
    level, so neither the number of levels nor that of layers has to be known.
    """
    blocks = block_rules(tensors)
    return {name: Taken(key) for key, name in by_rules(tensors, (*_AROUND, *blocks))}


def block_rules(tensors: Iterable[str]) -> list[tuple[str, str]]:
    """The rules for the blocks on the way down, in the middle, and up."""
    present = set(tensors)
    rules: list[tuple[str, str]] = []
    level, layer = 0, 0
    for number in range(1, _count("input_blocks", present)):
        place = rf"input_blocks\.{number}"
        if f"input_blocks.{number}.0.op.weight" in present:
            rules.append((rf"{place}\.0\.op\.(.+)", rf"down_blocks.{level}.downsamplers.0.conv.\1"))
            level, layer = level + 1, 0
            continue
        rules += _resnet(rf"{place}\.0", f"down_blocks.{level}.resnets.{layer}")
        rules.append((rf"{place}\.1\.(.+)", rf"down_blocks.{level}.attentions.{layer}.\1"))
        layer += 1
    rules += _resnet(r"middle_block\.0", "mid_block.resnets.0")
    rules.append((r"middle_block\.1\.((?:norm|proj|transformer).+)", r"mid_block.attentions.0.\1"))
    rules += _resnet(r"middle_block\.2", "mid_block.resnets.1")
    rules += _resnet(r"middle_block\.1", "mid_block.resnets.1")  # a middle without attention
    level, layer = 0, 0
    for number in range(_count("output_blocks", present)):
        place = rf"output_blocks\.{number}"
        rules += _resnet(rf"{place}\.0", f"up_blocks.{level}.resnets.{layer}")
        rules.append((rf"{place}\.[12]\.conv\.(.+)", rf"up_blocks.{level}.upsamplers.0.conv.\1"))
        rules.append((rf"{place}\.1\.(.+)", rf"up_blocks.{level}.attentions.{layer}.\1"))
        layer += 1
        if any(f"output_blocks.{number}.{place}.conv.weight" in present for place in (1, 2)):
            level, layer = level + 1, 0
    return rules


def _resnet(place: str, name: str) -> list[tuple[str, str]]:
    return [(rf"{place}\.{inside}", f"{name}.{new}") for inside, new in RESNET]


def _count(blocks: str, present: set[str]) -> int:
    numbers = [key.split(".")[1] for key in present if key.startswith(f"{blocks}.")]
    return max((int(number) for number in numbers if number.isdecimal() and len(number) < 4), default=-1) + 1


LAYOUT = Layout(
    prefixes=("model.diffusion_model.", ""),
    marks=("input_blocks.0.0.weight", "out.2.weight", "output_blocks.0.0.in_layers.0.weight"),
    names=unet_names,
    config=unet_config,
    folder=lambda config: "unet",
)
