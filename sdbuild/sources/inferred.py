"""Configurations as far as the shapes of a network's tensors tell them, for files that come without ``config.json``.

What shapes can't tell is what the published models of the family have: the number of attention's heads (8 in Stable Diffusion
1.x, one for each 64 channels in 2.x and XL), the activation of a text encoder, groups of 32 channels. A file of another
architecture needs a configuration of its own: `model.config` in the recipe.

Shapes are by the names of diffusers and transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sdbuild.errors import SourceError

Shapes = Mapping[str, tuple[int, ...]]

_HEADS_OF_SD1 = 8
_HEAD = 64  # channels of a head, in all others
_SIZES = 256  # numbers for each number of an image's size (`addition_time_embed_dim`)
_ADVICE = "; name a model that has its configuration under `model.config:`"
_WIDTH_OF_CLIP_L = 768  # OpenAI's text encoder; the wider ones are OpenCLIP's


def unet_config(shapes: Shapes) -> dict[str, Any]:
    """Of a ``UNet2DConditionModel``. Raises UserError: tensors that are missing, or of shapes that none has."""
    blocks = _number(shapes, r"down_blocks\.(\d+)\.")
    channels = [_shape(shapes, f"down_blocks.{i}.resnets.0.conv1.weight", 4)[0] for i in range(blocks)]
    depths = [_depths(shapes, f"down_blocks.{i}") for i in range(blocks)]
    rising = [_depths(shapes, f"up_blocks.{i}") for i in range(blocks)]
    middle = _number(shapes, r"mid_block\.attentions\.0\.transformer_blocks\.(\d+)\.")
    linear = len(_first(shapes, r".+\.attentions\.0\.proj_in\.weight") or ()) == 2
    attends = _first(shapes, r".+\.attn2\.to_k\.weight")
    if attends is None:
        raise SourceError("the UNet takes no prompt: no `attn2` in it")
    if linear and any(count % _HEAD for count in channels):
        raise SourceError(
            f"its UNet has {channels} channels, which don't tell the number of attention's heads{_ADVICE}"
        )
    config: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel",
        "in_channels": _shape(shapes, "conv_in.weight", 4)[1],
        "out_channels": _shape(shapes, "conv_out.weight", 4)[0],
        "block_out_channels": channels,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in rising],
        "layers_per_block": _number(shapes, r"down_blocks\.0\.resnets\.(\d+)\."),
        "cross_attention_dim": attends[1],
        "attention_head_dim": [count // _HEAD for count in channels] if linear else _HEADS_OF_SD1,
        "use_linear_projection": linear,
        **_transformers(depths, rising, middle),
    }
    if (embedding := shapes.get("add_embedding.linear_1.weight")) is not None and len(embedding) == 2:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": _SIZES,
            "projection_class_embeddings_input_dim": embedding[1],
        }
    if (classes := shapes.get("class_embedding.weight")) is not None:
        config["num_class_embeds"] = classes[0]
    if (guidance := shapes.get("time_embedding.cond_proj.weight")) is not None:
        config["time_cond_proj_dim"] = guidance[-1]
    return config


def controlnet_config(shapes: Shapes) -> dict[str, Any]:
    """Of a ``ControlNetModel``, as far as its blocks say: what it was made for, not yet all that builds it."""
    blocks = _number(shapes, r"down_blocks\.(\d+)\.")
    attends = _first(shapes, r".+\.attn2\.to_k\.weight")
    conditioned = shapes.get("add_embedding.linear_1.weight")
    return {
        "_class_name": "ControlNetModel",
        "in_channels": _shape(shapes, "conv_in.weight", 4)[1],
        "conditioning_channels": _shape(shapes, "controlnet_cond_embedding.conv_in.weight", 4)[1],
        "block_out_channels": [_shape(shapes, f"down_blocks.{i}.resnets.0.conv1.weight", 4)[0] for i in range(blocks)],
        "cross_attention_dim": attends[1] if attends else None,
        "addition_embed_type": "text_time" if conditioned else None,
    }


def _transformers(down: list[list[int]], up: list[list[int]], middle: int) -> dict[str, Any]:
    """How many transformers are in each attention: one number where all agree, else one for each level.

    Where a level has no attention the number says nothing, but the last one also counts for the middle.
    """
    known = [depth for depths in (*down, *up) for depth in depths] + ([middle] if middle else [])
    if len(set(known)) == 1:
        return {"transformer_layers_per_block": known[0]}
    levels = [_one(depths) if depths else 1 for depths in down]
    if not down[-1] and middle:
        levels[-1] = middle
    config = {"transformer_layers_per_block": levels}
    reverse = [_one(depths) if depths else 1 for depths in up]
    usual = [_one(depths) if not isinstance(depths, int) else depths for depths in reversed(levels)]
    if any(depths and found != wanted for depths, found, wanted in zip(up, reverse, usual, strict=True)):
        config["reverse_transformer_layers_per_block"] = reverse
    return config


def _one(depths: list[int]) -> Any:
    return depths[0] if len(set(depths)) == 1 else depths


def _depths(shapes: Shapes, block: str) -> list[int]:
    """Of each attention of a block, the number of its transformers."""
    place = re.escape(block)
    count = _number(shapes, rf"{place}\.attentions\.(\d+)\.")
    return [_number(shapes, rf"{place}\.attentions\.{i}\.transformer_blocks\.(\d+)\.") for i in range(count)]


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Of an ``AutoencoderKL``, or of one half of it; without ``scaling_factor``, which shapes don't tell."""
    if encoder := _number(shapes, r"encoder\.down_blocks\.(\d+)\."):
        channels = [_shape(shapes, f"encoder.down_blocks.{i}.resnets.0.conv1.weight", 4)[0] for i in range(encoder)]
        layers = _number(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\.")
    else:
        blocks = _number(shapes, r"decoder\.up_blocks\.(\d+)\.")
        ordered = [_shape(shapes, f"decoder.up_blocks.{i}.resnets.0.conv1.weight", 4)[0] for i in range(blocks)]
        channels, layers = ordered[::-1], _number(shapes, r"decoder\.up_blocks\.0\.resnets\.(\d+)\.") - 1
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": shapes.get("encoder.conv_in.weight", (0, 3))[1],
        "out_channels": _shape(shapes, "decoder.conv_out.weight", 4)[0],
        "latent_channels": _shape(shapes, "decoder.conv_in.weight", 4)[1],
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": layers,
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
        "mid_block_add_attention": any(".mid_block.attentions." in name for name in shapes),
    }


def clip_config(shapes: Shapes) -> dict[str, Any]:
    """Of a text encoder in transformers' names: OpenAI's, or by its width one of OpenCLIP's."""
    width = _shape(shapes, "text_model.embeddings.token_embedding.weight", 2)[1]
    return _text_config(shapes, "quick_gelu" if width <= _WIDTH_OF_CLIP_L else "gelu")


def open_clip_config(shapes: Shapes) -> dict[str, Any]:
    """Of one of OpenCLIP's text encoders."""
    return _text_config(shapes, "gelu")


def _text_config(shapes: Shapes, activation: str) -> dict[str, Any]:
    tokens, width = _shape(shapes, "text_model.embeddings.token_embedding.weight", 2)
    if width % _HEAD:
        raise SourceError(
            f"its text encoder is {width} wide, which doesn't tell the number of attention's heads{_ADVICE}"
        )
    projection = shapes.get("text_projection.weight")
    return {
        "architectures": ["CLIPTextModelWithProjection" if projection else "CLIPTextModel"],
        "vocab_size": tokens,
        "hidden_size": width,
        "intermediate_size": _shape(shapes, "text_model.encoder.layers.0.mlp.fc1.weight", 2)[0],
        "projection_dim": projection[0] if projection else width,
        "num_hidden_layers": _number(shapes, r"text_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": width // _HEAD,
        "max_position_embeddings": _shape(shapes, "text_model.embeddings.position_embedding.weight", 2)[0],
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }


def _number(shapes: Shapes, pattern: str) -> int:
    """One more than the largest number that a name has in a place; 0 where none has one."""
    compiled = re.compile(pattern)
    found = [int(match[1]) for name in shapes if (match := compiled.match(name)) and len(match[1]) < 4]
    return max(found, default=-1) + 1


def _shape(shapes: Shapes, name: str, sides: int) -> tuple[int, ...]:
    found = shapes.get(name)
    if found is None or len(found) != sides or not all(found):
        what = "is missing" if found is None else f"has shape {list(found)}"
        raise SourceError(f"{name} (by diffusers' names) {what}: the file is not whole, or of no model that is known")
    return found


def _first(shapes: Shapes, pattern: str) -> tuple[int, ...] | None:
    compiled = re.compile(pattern)
    return next((shape for name, shape in shapes.items() if compiled.fullmatch(name)), None)
