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

from benchmarks.architectures import TEXT_ENCODERS, UNETS, VAE, VAE_SCALES

SHAPES = Path(__file__).resolve().parents[1] / "sdbuild/shapes/model"  # its tokenizer and schedule serve all

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
    vae = VAE | {"scaling_factor": VAE_SCALES[family]}
    configs = {"unet": dict(unet)} if unet else TEXT_ENCODERS[family] | {"unet": UNETS[family], "vae": vae}
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
