"""Scaled-down models with the real block structure and seeded weights, for tests of every room."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import nn
from transformers import CLIPConfig, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sdbuild.modeling import building
from sdbuild.recipe import Component, load_family
from sdbuild.verify.reference import Reference

TOKENS = 77

TEXT: dict[str, Any] = {
    "architectures": ["CLIPTextModel"],
    "vocab_size": 600,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": TOKENS,
    "bos_token_id": 598,
    "eos_token_id": 599,
    "pad_token_id": 599,
}
TEXT_XL = TEXT | {"architectures": ["CLIPTextModelWithProjection"], "projection_dim": 48, "hidden_act": "gelu"}
UNET: dict[str, Any] = {
    "sample_size": 16,
    "block_out_channels": [32, 64],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 64,
    "attention_head_dim": 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
UNET_2 = UNET | {"use_linear_projection": True, "attention_head_dim": [2, 4], "upcast_attention": True}
UNET_XL = UNET_2 | {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 48 + 6 * 8,
    "transformer_layers_per_block": [1, 2],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
}
VAE: dict[str, Any] = {
    "block_out_channels": [8, 16, 16, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
    "norm_num_groups": 4,
}
CHECKER: dict[str, Any] = {
    "architectures": ["StableDiffusionSafetyChecker"],
    "projection_dim": 32,
    "vision_config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 14,
        "projection_dim": 32,
    },
}

CONFIGS: dict[str, dict[str, Any]] = {
    "clip_text": TEXT,
    "clip_text_pooled": TEXT_XL,
    "unet": UNET,
    "unet_xl": UNET_XL,
    "vae_decoder": VAE,
    "vae_encoder": VAE,
    "safety_checker": CHECKER,
}

PARTS = {
    "clip_text": ("sd1", "text_encoder"),
    "clip_text_pooled": ("sdxl", "text_encoder"),
    "unet": ("sd1", "unet"),
    "unet_xl": ("sdxl", "unet"),
    "vae_decoder": ("sd1", "vae_decoder"),
    "vae_encoder": ("sd1", "vae_encoder"),
    "safety_checker": ("sd1", "safety_checker"),
}
"""The component of a family that each of these is."""


@dataclass(frozen=True)
class Shape:
    """What a recipe and a family say of a component's ports and options; ``vae_scale`` None: the VAE's own."""

    height: int = 0
    width: int = 0
    batch: int = 1
    tokens: int = TOKENS
    vae_scale: float | None = None


def part(kind: str) -> Component:
    """What its family says of it."""
    family, name = PARTS[kind]
    return load_family(family).components[name]


def options(kind: str, vae_scale: float | None = None) -> dict[str, Any]:
    """Of the component's kind."""
    return part(kind).options | ({"vae_scale": vae_scale} if kind.startswith("vae") else {})


def build(kind: str, config: Mapping[str, Any], shape: Shape) -> building.Component:
    """One of `PARTS` as a module to trace."""
    own = part(kind)
    known = {
        "batch": shape.batch,
        "tokens": shape.tokens,
        "latent_channels": 4,
        "height": shape.height,
        "width": shape.width,
    }
    known |= {"latent_height": shape.height // 8, "latent_width": shape.width // 8}
    inputs = [[known.get(str(size), size) for size in port.shape] for port in own.inputs]
    return building.build(own.kind, config, inputs, options(kind, shape.vae_scale))


def original(kind: str, config: Path, weights: Path, vae_scale: float | None = None) -> Reference:
    """The original of one of `PARTS`."""
    return Reference(part(kind).kind, config, weights, options(kind, vae_scale))


def make(kind: str, config: dict[str, Any]) -> nn.Module:
    """The library's own model with seeded weights; norms' scales and shifts are not left at one and zero."""
    torch.manual_seed(0)
    model: nn.Module
    if kind.startswith("clip_text"):
        projected = "CLIPTextModelWithProjection" in config["architectures"]
        model = (CLIPTextModelWithProjection if projected else CLIPTextModel)(CLIPTextConfig(**config))
    elif kind.startswith("unet"):
        model = UNet2DConditionModel.from_config(config)
    elif kind == "safety_checker":
        model = StableDiffusionSafetyChecker(CLIPConfig(**config))
        with torch.no_grad():
            for embeds in (model.concept_embeds, model.special_care_embeds):
                embeds.copy_(torch.randn_like(embeds))
    else:
        model = AutoencoderKL.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            parameter.copy_(parameter.half().float())  # as shipped: conversion to float16 loses nothing
    return model.eval()
