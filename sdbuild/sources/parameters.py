"""The names of all parameters of a model, by its configuration: those of diffusers and transformers, without either library.

For configurations as `sdbuild.sources.inferred` makes them. A single file's tensors are compared with these before anything
heavy is done: a file that broke off on its way through some tool lacks a few of hundreds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Config = Mapping[str, Any]


def parameters_of(config: Config) -> set[str]:
    """Of a UNet, a VAE or a text encoder."""
    if config.get("_class_name") == "UNet2DConditionModel":
        return set(_unet(config))
    if config.get("_class_name") == "AutoencoderKL":
        return set(_vae(config))
    return set(_text_encoder(config))


def _unet(config: Config) -> Iterator[str]:
    channels: Sequence[int] = config["block_out_channels"]
    layers, last = config["layers_per_block"], len(channels) - 1
    depths = config["transformer_layers_per_block"]
    falling = list(depths) if isinstance(depths, list) else [depths] * len(channels)
    rising = config.get("reverse_transformer_layers_per_block", falling[::-1])
    yield from _affine("conv_in", "conv_norm_out", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2")
    if "addition_embed_type" in config:
        yield from _affine("add_embedding.linear_1", "add_embedding.linear_2")
    if "num_class_embeds" in config:
        yield "class_embedding.weight"
    if "time_cond_proj_dim" in config:
        yield "time_embedding.cond_proj.weight"
    skips, now = [channels[0]], channels[0]
    for level, width in enumerate(channels):
        block = f"down_blocks.{level}"
        attends = "CrossAttn" in config["down_block_types"][level]
        for layer in range(layers):
            yield from _residual(f"{block}.resnets.{layer}", now != width)
            yield from _transformers(f"{block}.attentions.{layer}", falling[level], layer) if attends else ()
            now = width
            skips.append(width)
        if level < last:
            yield from _affine(f"{block}.downsamplers.0.conv")
            skips.append(width)
    for number in (0, 1):
        yield from _residual(f"mid_block.resnets.{number}", False)
    if config["mid_block_type"] == "UNetMidBlock2DCrossAttn":
        yield from _transformers("mid_block.attentions.0", falling[-1], 0)
    for level, width in enumerate(channels[::-1]):
        block = f"up_blocks.{level}"
        attends = "CrossAttn" in config["up_block_types"][level]
        for layer in range(layers + 1):
            yield from _residual(f"{block}.resnets.{layer}", now + skips.pop() != width)
            yield from _transformers(f"{block}.attentions.{layer}", rising[level], layer) if attends else ()
            now = width
        if level < last:
            yield from _affine(f"{block}.upsamplers.0.conv")


def _residual(place: str, changes_width: bool, timed: bool = True) -> Iterator[str]:
    yield from _affine(*(f"{place}.{name}" for name in ("norm1", "conv1", "norm2", "conv2")))
    if timed:
        yield from _affine(f"{place}.time_emb_proj")
    if changes_width:
        yield from _affine(f"{place}.conv_shortcut")


def _transformers(place: str, depth: Any, layer: int) -> Iterator[str]:
    yield from _affine(*(f"{place}.{name}" for name in ("norm", "proj_in", "proj_out")))
    for number in range(depth[layer] if isinstance(depth, list) else depth):
        block = f"{place}.transformer_blocks.{number}"
        names = ("norm1", "norm2", "norm3", "attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2")
        yield from _affine(*(f"{block}.{name}" for name in names))
        for attention in ("attn1", "attn2"):
            yield from (f"{block}.{attention}.to_{letter}.weight" for letter in "qkv")


def _vae(config: Config) -> Iterator[str]:
    channels: Sequence[int] = config["block_out_channels"]
    for half, blocks, layers, change, widths in (
        ("encoder", "down_blocks", config["layers_per_block"], "downsamplers", channels),
        ("decoder", "up_blocks", config["layers_per_block"] + 1, "upsamplers", channels[::-1]),
    ):
        yield from _affine(*(f"{half}.{name}" for name in ("conv_in", "conv_norm_out", "conv_out")))
        for number in (0, 1):
            yield from _residual(f"{half}.mid_block.resnets.{number}", False, timed=False)
        if config["mid_block_add_attention"]:
            attention = f"{half}.mid_block.attentions.0"
            yield from _affine(*(f"{attention}.{each}" for each in ("group_norm", "to_q", "to_k", "to_v", "to_out.0")))
        now = widths[0]
        for level, width in enumerate(widths):
            for layer in range(layers):
                yield from _residual(f"{half}.{blocks}.{level}.resnets.{layer}", now != width, timed=False)
                now = width
            if level < len(widths) - 1:
                yield from _affine(f"{half}.{blocks}.{level}.{change}.0.conv")
    for name in ("quant_conv", "post_quant_conv"):
        yield from _affine(name) if config[f"use_{name}"] else ()


def _text_encoder(config: Config) -> Iterator[str]:
    yield from (f"text_model.embeddings.{each}_embedding.weight" for each in ("token", "position"))
    for number in range(config["num_hidden_layers"]):
        layer = f"text_model.encoder.layers.{number}"
        yield from _affine(*(f"{layer}.self_attn.{each}_proj" for each in ("q", "k", "v", "out")))
        yield from _affine(*(f"{layer}.{each}" for each in ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2")))
    yield from _affine("text_model.final_layer_norm")
    if config["architectures"] == ["CLIPTextModelWithProjection"]:
        yield "text_projection.weight"


def _affine(*names: str) -> Iterator[str]:
    """Of layers with a weight and a bias."""
    for name in names:
        yield f"{name}.weight"
        yield f"{name}.bias"
