"""Real architectures with seeded random float16 weights, as folders that diffusers could have saved.

Weights are drawn and written one tensor at a time, so a model of any size is made in little memory:

    python -m benchmarks.models sdxl FOLDER
"""

import json
import shutil
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

SHAPES = Path(__file__).resolve().parents[1] / "sdbuild/shapes/model"  # its tokenizer and schedule serve all

UNET_SD: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "layers_per_block": 2,
}
UNETS: dict[str, dict[str, Any]] = {
    "sd1": UNET_SD | {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sd2": UNET_SD
    | {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
    "sdxl": UNET_SD
    | {
        "sample_size": 128,
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "transformer_layers_per_block": [1, 2, 10],
    },
}
_CLIP: dict[str, Any] = {
    "architectures": ["CLIPTextModel"],
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
TEXT_ENCODERS: dict[str, dict[str, dict[str, Any]]] = {
    "sd1": {"text_encoder": _CLIP},
    "sd2": {
        "text_encoder": _CLIP
        | {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
        }
    },
    "sdxl": {
        "text_encoder": _CLIP,
        "text_encoder_2": _CLIP
        | {
            "architectures": ["CLIPTextModelWithProjection"],
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 20,
            "projection_dim": 1280,
            "hidden_act": "gelu",
        },
    },
}
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
_PIPELINES = {"sd1": "StableDiffusionPipeline", "sd2": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


def architecture(config: Mapping[str, Any]) -> nn.Module:
    """The library's model of a configuration, without weights."""
    with torch.device("meta"):
        if config.get("_class_name") == "UNet2DConditionModel":
            return UNet2DConditionModel.from_config(dict(config))
        if config.get("_class_name") == "AutoencoderKL":
            return AutoencoderKL.from_config(dict(config))
        projected = "CLIPTextModelWithProjection" in config["architectures"]
        return (CLIPTextModelWithProjection if projected else CLIPTextModel)(CLIPTextConfig(**config))


def write_weights(config: Mapping[str, Any], path: Path, seed: int) -> int:
    """Write a safetensors file of random float16 weights that keep activations tame; returns how many there are."""
    shapes = {name: tuple(tensor.shape) for name, tensor in architecture(config).named_parameters()}
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in _values(shapes, np.random.Generator(np.random.SFC64(seed))):
            file.write(values.data)
    return offset // 2


def _values(shapes: Mapping[str, tuple[int, ...]], generator: np.random.Generator) -> Iterator[Any]:
    """Matrices and kernels of the usual spread (one over the root of what they sum over); norms near 1, biases near 0."""
    for name, shape in shapes.items():
        values = generator.standard_normal(int(np.prod(shape)), np.float32)
        if len(shape) > 1:
            values *= 0.02 if "embedding" in name else float(np.prod(shape[1:])) ** -0.5
        else:
            values *= 0.1
            values += float(name.endswith("weight"))
        yield values.astype(np.float16)


def make(family: str, folder: Path, unet: Mapping[str, Any] | None = None) -> Path:
    """Write the model of a family ("sd1", "sd2", "sdxl") into ``folder``; one that is there is left alone.

    With ``unet``, a configuration, it has that UNet and no other weights.
    """
    if (folder / "model_index.json").exists():
        return folder
    configs = {"unet": dict(unet)} if unet else TEXT_ENCODERS[family] | {"unet": UNETS[family], "vae": VAE}
    for seed, (name, config) in enumerate(configs.items()):
        stem = "model" if name.startswith("text") else "diffusion_pytorch_model"
        write_weights(config, folder / name / f"{stem}.safetensors", seed)
        (folder / name / "config.json").write_text(json.dumps(config))
    for name in TEXT_ENCODERS[family]:
        shutil.copytree(SHAPES / "tokenizer", folder / name.replace("text_encoder", "tokenizer"))
    shutil.copytree(SHAPES / "scheduler", folder / "scheduler")
    index = {
        name: ["transformers" if name.startswith("text") else "diffusers", config.get("_class_name") or "CLIPTextModel"]
        for name, config in configs.items()
    }
    text = json.dumps({"_class_name": _PIPELINES[family], "_diffusers_version": "0.38.0"} | index)
    (folder / "model_index.json").write_text(text)
    return folder


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
