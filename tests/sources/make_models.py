"""Tiny pipelines as diffusers saves them: real configurations and safetensors files, random weights, no torch needed.

The weights have the right form of file and not the right tensors: nothing here loads them into a model.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

VOCABULARY = {"a</w>": 0, "b": 1, "c</w>": 2, "bc</w>": 3, "<|startoftext|>": 4, "<|endoftext|>": 5}
MERGES = "#version: 0.2\nb c</w>\n"

_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "block_out_channels": [8, 16],
    "cross_attention_dim": 32,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 8,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
_VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.6.0",
    "block_out_channels": [8, 8, 8, 8],
    "in_channels": 3,
    "latent_channels": 4,
    "out_channels": 3,
}
_TEXT: dict[str, Any] = {
    "_name_or_path": "openai/clip-vit-large-patch14",
    "architectures": ["CLIPTextModel"],
    "hidden_size": 32,
    "torch_dtype": "float32",
    "transformers_version": "4.22.0.dev0",
    "vocab_size": len(VOCABULARY),
}


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


TENSORS = ("one.weight", "two.weight")


def weights(seed: int, count: int = 2000, names: tuple[str, ...] = TENSORS) -> bytes:
    """A safetensors file with random tensors of `count` float16 numbers."""
    generator = np.random.default_rng(seed)
    tensors = {name: generator.standard_normal(count).astype(np.float16) for name in names}
    content: bytes = save(tensors)
    return content


def sd1(**changes: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a small Stable Diffusion 1; `changes` by component update its configuration."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.6.0",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    return {
        "model_index.json": as_json(index | dict(changes.get("index", {}))),
        "scheduler/scheduler_config.json": as_json(
            {"_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085}
        ),
        "text_encoder/config.json": as_json(_TEXT | dict(changes.get("text_encoder", {}))),
        "text_encoder/model.safetensors": weights(1),
        "tokenizer/merges.txt": MERGES.encode(),
        "tokenizer/vocab.json": as_json(VOCABULARY),
        "unet/config.json": as_json(_UNET | dict(changes.get("unet", {}))),
        "unet/diffusion_pytorch_model.safetensors": weights(2, 40_000),
        "vae/config.json": as_json(_VAE | dict(changes.get("vae", {}))),
        "vae/diffusion_pytorch_model.safetensors": weights(3),
        "README.md": b"# A small model\n",
    }


def checked(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same files with a safety checker."""
    index = json.loads(files["model_index.json"])
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    config = {
        "architectures": ["StableDiffusionSafetyChecker"],
        "projection_dim": 32,
        "vision_config": {"image_size": 28},
    }
    return files | {
        "model_index.json": as_json(index),
        "safety_checker/config.json": as_json(config),
        "safety_checker/model.safetensors": weights(5),
    }


def sdxl(**changes: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a small Stable Diffusion XL."""
    second = {"architectures": ["CLIPTextModelWithProjection"], "hidden_size": 64, "projection_dim": 16}
    conditioned = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "cross_attention_dim": 96,
        "projection_class_embeddings_input_dim": 16 + 6 * 8,
    }
    files = sd1(
        index={
            "_class_name": "StableDiffusionXLPipeline",
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            **changes.get("index", {}),
        },
        unet={**conditioned, **changes.get("unet", {})},
        text_encoder=changes.get("text_encoder", {}),
        vae={"scaling_factor": 0.13025, **changes.get("vae", {})},
    )
    files["text_encoder_2/config.json"] = as_json(_TEXT | second | dict(changes.get("text_encoder_2", {})))
    files["text_encoder_2/model.safetensors"] = weights(4)
    files["tokenizer_2/merges.txt"], files["tokenizer_2/vocab.json"] = MERGES.encode(), as_json(VOCABULARY)
    return files


def sharded(files: dict[str, bytes], folder: str, stem: str, variant: str = "") -> dict[str, bytes]:
    """The same files with a folder's weights in two shards and an index, as diffusers writes them."""
    kept = {path: body for path, body in files.items() if path != f"{folder}/{stem}.safetensors"}
    names = [f"{stem}{variant}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    shards = {f"{folder}/{name}": weights(10 + n, 4000, (TENSORS[n],)) for n, name in enumerate(names)}
    index = {"metadata": {"total_size": 16000}, "weight_map": dict(zip(TENSORS, names, strict=True))}
    return kept | shards | {f"{folder}/{stem}.safetensors.index{variant}.json": as_json(index)}


def write(files: Mapping[str, bytes], folder: Path) -> Path:
    """The files in a folder."""
    for path, body in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return folder
