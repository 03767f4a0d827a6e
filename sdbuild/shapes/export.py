"""Stage `export`: the trained parts as one diffusers folder, float16 safetensors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from sdbuild.shapes.tokenizer import load_tokenizer, write_tokenizer
from sdbuild.shapes.train_text import load_text_encoder
from sdbuild.shapes.train_unet import ddim_scheduler, load_scaled_vae, load_unet

LIMIT_BYTES = 12_000_000


def export_model(out: Path, target: Path) -> int:
    """Writes the diffusers folder from the checkpoints in `out`; returns its size in bytes."""
    tokenizer = load_tokenizer(out / "tokenizer")
    pipeline = StableDiffusionPipeline(
        vae=load_scaled_vae(out),
        text_encoder=load_text_encoder(tokenizer, out / "text.pt"),
        tokenizer=tokenizer,
        unet=load_unet(out / "unet.pt"),
        scheduler=ddim_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float16)
    fresh = target.with_name(target.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline.save_pretrained(fresh, safe_serialization=True)
    # transformers would write one tokenizer.json; Apple's package wants vocabulary and merges.
    shutil.rmtree(fresh / "tokenizer")
    write_tokenizer(fresh / "tokenizer")
    index = fresh / "model_index.json"
    names = json.loads(index.read_text())
    names["tokenizer"] = ["transformers", "CLIPTokenizer"]
    names["scheduler"] = ["diffusers", "DDIMScheduler"]
    index.write_text(json.dumps(names, indent=2) + "\n")
    # As in Stable Diffusion 1.x: whoever puts PNDM in its place leaves its Runge-Kutta start out.
    config = fresh / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"skip_prk_steps": True}, indent=2) + "\n")
    for config in fresh.rglob("*.json"):
        # The folders the parts were loaded from are of no interest to anybody else.
        values = json.loads(config.read_text())
        if values.pop("_name_or_path", None) is not None:
            config.write_text(json.dumps(values, indent=2) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    if size > LIMIT_BYTES:
        raise ValueError(f"the model takes {size} bytes, more than {LIMIT_BYTES}")
    return size
