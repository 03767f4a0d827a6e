"""Scaled-down models of every family, as diffusers saves them: the real kinds of blocks in their order, but few and narrow.

Seeded weights, rounded to float16 as published ones are; the tokenizer is that of the model that comes with sdbuild.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.architectures import CHECKER, TEXT, TEXT_XL, UNET, UNET_2, UNET_XL, VAE, make

SHAPES = Path(__file__).parents[2] / "sdbuild" / "shapes" / "model"
_SCHEDULER = json.loads((SHAPES / "scheduler" / "scheduler_config.json").read_text())
_WORDS = {"vocab_size": 653, "bos_token_id": 651, "eos_token_id": 652, "pad_token_id": 652}

_TEXT = TEXT | _WORDS
_UNET = UNET | {
    "_class_name": "UNet2DConditionModel",
    "block_out_channels": [32, 32, 64],
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "attention_head_dim": 2,
}
_UNET_2 = UNET_2 | {"_class_name": "UNet2DConditionModel"}
_UNET_XL = UNET_XL | {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 128}
_VAE = VAE | {"_class_name": "AutoencoderKL"}


@dataclass(frozen=True)
class Model:
    """A model: by folder, the kind and the configuration; the class of its pipeline, and its scheduler."""

    family: str
    pipeline: str
    parts: dict[str, tuple[str, dict[str, Any]]]
    scheduler: dict[str, Any] = field(default_factory=lambda: _SCHEDULER)
    tokenizers: tuple[str, ...] = ("tokenizer",)


SD1 = Model(
    "sd1",
    "StableDiffusionPipeline",
    {
        "text_encoder": ("clip_text", _TEXT),
        "unet": ("unet", _UNET),
        "vae": ("vae_decoder", _VAE),
        "safety_checker": ("safety_checker", CHECKER),
    },
)
SD2 = Model(
    "sd2",
    "StableDiffusionPipeline",
    {
        "text_encoder": ("clip_text", _TEXT | {"hidden_act": "gelu"}),
        "unet": ("unet", _UNET_2),
        "vae": ("vae_decoder", _VAE),
    },
    _SCHEDULER | {"prediction_type": "v_prediction"},
)
SDXL = Model(
    "sdxl",
    "StableDiffusionXLPipeline",
    {
        "text_encoder": ("clip_text_pooled", _TEXT),
        "text_encoder_2": ("clip_text_pooled", TEXT_XL | _WORDS | {"pad_token_id": 0}),
        "unet": ("unet_xl", _UNET_XL),
        "vae": ("vae_decoder", _VAE | {"scaling_factor": 0.13025}),
    },
    tokenizers=("tokenizer", "tokenizer_2"),
)


def library(model: Model) -> dict[str, Any]:
    """The library's own modules, by folder.

    Time moves the UNet half as much as chance would have it: the frequencies of its sinusoids are rounded to float16, as
    coremltools rounds them, which is most of what conversion costs.
    """
    modules = {folder: make(kind, config) for folder, (kind, config) in model.parts.items()}
    with torch.no_grad():
        modules["unet"].get_parameter("time_embedding.linear_2.weight").mul_(0.5)
    return modules


def save(model: Model, path: Path) -> None:
    """The model as a folder of diffusers."""
    for folder, module in library(model).items():
        (path / folder).mkdir(parents=True)
        (path / folder / "config.json").write_text(json.dumps(model.parts[folder][1]))
        name = "diffusion_pytorch_model" if folder in ("unet", "vae") else "model"
        state = {key: tensor.half().contiguous() for key, tensor in module.state_dict().items()}
        save_file(state, path / folder / f"{name}.safetensors")
    for folder in model.tokenizers:
        shutil.copytree(SHAPES / "tokenizer", path / folder)
    (path / "scheduler").mkdir()
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(model.scheduler))
    (path / "model_index.json").write_text(json.dumps({"_class_name": model.pipeline}))
