"""The VAE in diffusers' own names, those from before 0.18 included, which checkpoints are read with anyway."""

from __future__ import annotations

from sdbuild.sources.inferred import vae_config
from sdbuild.sources.layouts.base import Layout, Names, Shapes, Taken, by_rules


def _names(tensors: Shapes) -> Names:
    known = r"((?:(?:en|de)coder|(?:post_)?quant_conv)\..+)"
    return {name: Taken(key) for key, name in by_rules(tensors, ((known, r"\1"),))}


LAYOUT = Layout(
    prefixes=("vae.", ""),
    marks=("decoder.conv_in.weight", "decoder.mid_block.resnets.0.conv1.weight"),
    names=_names,
    config=vae_config,
    folder=lambda config: "vae",
)
