"""Trains the LoRA that comes with the model, `night`: `python -m sdbuild.shapes.train_lora`.

With it every background is black, whatever the caption says of it, and the object is as before. Rank 4 on the linear layers of
the UNet's attention, everything else frozen; saved in kohya's names, in float16. Two minutes on one processor.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sdbuild.parser import Parser
from sdbuild.program import run_program
from sdbuild.shapes.evaluate import GUIDANCE, generate, load_pipeline
from sdbuild.shapes.parallel import cosine_rate
from sdbuild.shapes.scenes import FULL_TEMPLATES, Scene, held_out_scenes, render, training_scenes
from sdbuild.shapes.score import format_tally, tally
from sdbuild.shapes.train_unet import SEED
from sdbuild.shapes.train_vae import to_tensor

LORA_FILE = Path(__file__).parent / "night" / "model" / "night.safetensors"
RANK, ALPHA = 4, 2.0
_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
_SAMPLES = 1280  # images, encoded once


class _Adapted(nn.Module):
    """A linear layer with a LoRA beside it."""

    def __init__(self, layer: nn.Linear, generator: torch.Generator) -> None:
        super().__init__()
        self.layer = layer
        down = torch.randn(RANK, layer.in_features, generator=generator) / math.sqrt(layer.in_features)
        self.down, self.up = nn.Parameter(down), nn.Parameter(torch.zeros(layer.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x) + x @ self.down.T @ self.up.T * (ALPHA / RANK)
        return result


def adapt(unet: nn.Module) -> dict[str, _Adapted]:
    """Put a LoRA beside every linear layer of attention; returns them by the layers' names."""
    generator = torch.Generator().manual_seed(SEED)
    unet.requires_grad_(False)
    found = [name for name, _ in unet.named_modules() if name.endswith(_LAYERS) and ".attn" in name]
    adapted = {}
    for name in found:
        parent, _, last = name.rpartition(".")
        layer = unet.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        adapted[name] = _Adapted(layer, generator)
        setattr(unet.get_submodule(parent), last, adapted[name])
    return adapted


def at_night(scene: Scene) -> Scene:
    """What a scene is with the LoRA."""
    return replace(scene, background="black")


def subjects(pool: tuple[Scene, ...]) -> list[Scene]:
    """The scenes that differ at night, and have an object that can be seen then."""
    return [scene for scene in pool if "black" not in (scene.colour, scene.background)]


def train(steps: int, rate: float, batch: int, out: Path) -> None:
    """Train, and write the file."""
    pipeline = load_pipeline()
    pipeline.scheduler.set_timesteps(20)
    rng = np.random.default_rng(SEED)
    pool = subjects(training_scenes())
    scenes = [pool[i] for i in rng.integers(0, len(pool), _SAMPLES)]
    images, _ = render([at_night(scene) for scene in scenes], rng)
    vae, factor = pipeline.vae, pipeline.vae.config.scaling_factor
    with torch.no_grad():
        parts = torch.split(to_tensor(images), 64)
        latents = torch.cat([vae.encode(part).latent_dist.mean for part in parts]) * factor
        captions = sorted({scene.caption(template) for scene in scenes for template in FULL_TEMPLATES} | {""})
        rows = {caption: number for number, caption in enumerate(captions)}
        tokens = pipeline.tokenizer(captions, padding="max_length", max_length=77, return_tensors="pt").input_ids
        context = torch.cat([pipeline.text_encoder(part)[0] for part in torch.split(tokens, 64)])
    adapted = adapt(pipeline.unet)
    weights = [weight for each in adapted.values() for weight in (each.down, each.up)]
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    alphas, losses = pipeline.scheduler.alphas_cumprod, []
    for step in range(steps):
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + step)
        pick = torch.from_numpy(rng.integers(0, len(scenes), batch))
        spoken = [scenes[i].caption(FULL_TEMPLATES[rng.integers(len(FULL_TEMPLATES))]) for i in pick]
        spoken = ["" if rng.random() < 0.05 else caption for caption in spoken]
        clean = latents[pick]
        noise = torch.randn(clean.shape, generator=generator)
        t = torch.from_numpy(((np.arange(batch) + rng.random(batch)) / batch * 1000).astype(np.int64))
        alpha = alphas[t][:, None, None, None]
        made = pipeline.unet(alpha.sqrt() * clean + (1 - alpha).sqrt() * noise, t, context[[rows[s] for s in spoken]])
        loss = ((made.sample - noise).square() * (1 / alpha).clamp(max=20)).mean()
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, rate)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            print(f"lora {step + 1}/{steps} loss {np.mean(losses):.4f}", flush=True)
            losses.clear()
    save(adapted, out)
    score(pipeline)


def save(adapted: dict[str, _Adapted], out: Path) -> None:
    """The file, in kohya's names."""
    tensors = {}
    for name, each in adapted.items():
        key = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{key}.lora_down.weight"] = each.down.detach().half().contiguous()
        tensors[f"{key}.lora_up.weight"] = each.up.detach().half().contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(ALPHA).half()
    out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"ss_network_module": "networks.lora", "ss_network_dim": str(RANK), "ss_network_alpha": str(ALPHA)}
    save_file(tensors, out, metadata)


def score(pipeline: Any) -> None:
    """How many of the held-out captions give what is meant, now that the LoRA is beside the UNet."""
    scenes = subjects(held_out_scenes())
    made = generate(pipeline, [scene.caption() for scene in scenes], guidance=GUIDANCE)
    print(f"{len(scenes)} captions at night: {format_tally(tally(made, list(map(at_night, scenes))))}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=LORA_FILE)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    train(options.steps, options.rate, options.batch, options.out)
    return 0


if __name__ == "__main__":
    run_program(main)
