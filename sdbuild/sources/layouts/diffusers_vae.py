"""The VAE in diffusers' own names, those from before 0.18 included."""

from __future__ import annotations

from sdbuild.sources.inferred import vae_config
from sdbuild.sources.layouts.base import Layout, Names, Rules, Shapes, Taken, by_rules

_RULES: Rules = (
    *(
        (rf"((?:en|de)coder\.mid_block\.attentions\.\d+)\.{old}\.(.+)", rf"\1.{new}.\2")
        for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
    ),
    (r"((?:(?:en|de)coder|(?:post_)?quant_conv)\..+)", r"\1"),
)


def _names(tensors: Shapes) -> Names:
    return {name: Taken(key) for key, name in by_rules(tensors, _RULES)}


LAYOUT = Layout(
    prefixes=("vae.", ""),
    marks=("decoder.conv_in.weight", "decoder.mid_block.resnets.0.conv1.weight"),
    names=_names,
    config=vae_config,
    folder=lambda config: "vae",
)
