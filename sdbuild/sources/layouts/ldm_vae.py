"""The VAE in the names of CompVis' latent-diffusion, in whole checkpoints and in files of VAEs alone."""

from __future__ import annotations

import re

from sdbuild.sources.inferred import vae_config
from sdbuild.sources.layouts.base import Layout, Names, Shapes, Taken, by_rules

_RESNET = (
    (r"(norm[12]|conv[12])\.(.+)", r"\1.\2"),
    (r"nin_shortcut\.(.+)", r"conv_shortcut.\1"),
)
_ATTENTION = (
    (r"norm\.(.+)", r"group_norm.\1"),
    (r"([qkv])\.(.+)", r"to_\1.\2"),
    (r"proj_out\.(.+)", r"to_out.0.\1"),
)


def _names(tensors: Shapes) -> Names:
    rules = [
        (r"((?:post_)?quant_conv\..+)", r"\1"),
        (r"((?:en|de)coder\.conv_(?:in|out)\..+)", r"\1"),
        (r"((?:en|de)coder)\.norm_out\.(.+)", r"\1.conv_norm_out.\2"),
    ]
    levels = [match[1] for key in tensors if (match := re.match(r"decoder\.up\.(\d{1,2})\.", key))]
    last = max(map(int, levels), default=0)
    for half in ("encoder", "decoder"):
        for number in (1, 2):
            rules += _inside(rf"{half}\.mid\.block_{number}", f"{half}.mid_block.resnets.{number - 1}", _RESNET)
        rules += _inside(rf"{half}\.mid\.attn_1", f"{half}.mid_block.attentions.0", _ATTENTION)
    rules += _inside(r"encoder\.down\.(\d+)\.block\.(\d+)", r"encoder.down_blocks.\1.resnets.\2", _RESNET, 2)
    rules.append((r"encoder\.down\.(\d+)\.downsample\.conv\.(.+)", r"encoder.down_blocks.\1.downsamplers.0.conv.\2"))
    for level in range(last + 1):  # counted from the smallest on in diffusers, and from the largest in the file
        new = f"decoder.up_blocks.{last - level}"
        rules += _inside(rf"decoder\.up\.{level}\.block\.(\d+)", rf"{new}.resnets.\1", _RESNET, 1)
        rules.append((rf"decoder\.up\.{level}\.upsample\.conv\.(.+)", rf"{new}.upsamplers.0.conv.\1"))
    return {name: Taken(key) for key, name in by_rules(tensors, rules)}


def _inside(place: str, name: str, rules: tuple[tuple[str, str], ...], groups: int = 0) -> list[tuple[str, str]]:
    """Rules for what lies in a block whose own pattern has some groups."""

    def shifted(new: str) -> str:
        return re.sub(r"\\(\d)", lambda match: f"\\{int(match[1]) + groups}", new)

    return [(rf"{place}\.{inside}", f"{name}.{shifted(new)}") for inside, new in rules]


LAYOUT = Layout(
    prefixes=("first_stage_model.", "vae.", ""),
    marks=("decoder.conv_in.weight", "decoder.mid.block_1.conv1.weight"),
    names=_names,
    config=vae_config,
    folder=lambda config: "vae",
)
