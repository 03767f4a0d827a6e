"""Stages `latents` and `unet`: the denoiser, on cached latents and caption embeddings.

Noise prediction on Stable Diffusion 1.x's schedule, because Apple's Swift scheduler has
exactly that built in. Plain noise loss hardly sees the noisiest steps, where the colours
are decided; weighting by 1/alpha^2 (the loss of a v-prediction), capped, repairs that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from sdbuild.shapes.parallel import (
    Average,
    average_gradients,
    cosine_rate,
    launch,
    save_atomically,
)
from sdbuild.shapes.scenes import (
    FULL_TEMPLATES,
    MAIN_TEMPLATE,
    PARTIAL_TEMPLATES,
    TEMPLATES,
    Scene,
    held_out_scenes,
    render,
    training_scenes,
)
from sdbuild.shapes.score import format_tally, tally
from sdbuild.shapes.tokenizer import load_tokenizer
from sdbuild.shapes.train_text import embed, load_text_encoder
from sdbuild.shapes.train_vae import SCALING_FACTOR, encode_pool, fold_scale, load_vae, to_images

SEED = 23
SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
}
RENDERINGS = 64  # pictures of every training caption, over all processes


@dataclass(frozen=True)
class UnetPlan:
    """What one run of the stage does; `steps` may change when a run is resumed."""

    out: Path
    steps: int
    workers: int
    batch: int = 48
    rate: float = 1e-3
    weight_cap: float = 20.0
    drop_caption: float = 0.10
    partial_caption: float = 0.05
    evaluate_every: int = 500

    @property
    def checkpoint(self) -> Path:
        """Where the run saves its state."""
        return self.out / "unet.pt"


def build_unet() -> UNet2DConditionModel:
    """The untrained denoiser: cross-attention at both levels, heads of 32 channels."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        block_out_channels=(64, 128),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=(2, 4),
        norm_num_groups=32,
        act_fn="silu",
    )


def ddim_scheduler() -> DDIMScheduler:
    """The scheduler the model ships with, on Stable Diffusion 1.x's schedule.

    Not PNDM, which 1.x ships: its extrapolation overshoots with guidance above 2 here.
    """
    return DDIMScheduler(clip_sample=False, **SCHEDULE)


def _encode_shard(rank: int, world: int, out: Path) -> None:
    vae = load_vae(out / "vae.pt")
    pool = training_scenes()
    rng = np.random.default_rng((SEED, rank))
    latents, which = [], []
    for _ in range(RENDERINGS // world):
        images, _ = render(list(pool), rng)
        latents.append(encode_pool(vae, images))
        which.append(torch.arange(len(pool)))
    state = {"latents": torch.cat(latents), "scene": torch.cat(which), "world": world}
    save_atomically(state, out / f"latents-{rank}.pt")


def make_latents(out: Path, workers: int) -> None:
    """Encodes the pool of training pictures and folds the latents' scale into the VAE."""
    for old in out.glob("latents-*.pt"):
        old.unlink()
    launch(_encode_shard, workers, out)
    vae = load_vae(out / "vae.pt")
    latents, _ = _raw_latents(out)
    fold_scale(vae, latents)
    save_atomically({"model": vae.state_dict()}, out / "vae-scaled.pt")


def _raw_latents(out: Path) -> tuple[Tensor, Tensor]:
    shards = [torch.load(p, weights_only=False) for p in sorted(out.glob("latents-*.pt"))]
    return torch.cat([s["latents"] for s in shards]), torch.cat([s["scene"] for s in shards])


def load_latents(out: Path) -> tuple[Tensor, Tensor]:
    """Scaled latents [N, 4, 8, 8] (zero mean, unit variance) and their scenes' indices [N]."""
    latents, scene = _raw_latents(out)
    mean = latents.mean(dim=(0, 2, 3), keepdim=True)
    return (latents - mean) / latents.std(dim=(0, 2, 3), keepdim=True), scene


def load_scaled_vae(out: Path) -> AutoencoderKL:
    """The VAE with the latents' scale folded in; with the fine-tuned decoder if there is one."""
    vae = load_vae(out / "vae.pt")
    tuned = out / "decoder.pt"
    path = tuned if tuned.exists() else out / "vae-scaled.pt"
    vae.load_state_dict(torch.load(path, weights_only=False)["model"])
    return vae.eval().requires_grad_(False)


def caption_embeddings(out: Path) -> tuple[Tensor, Tensor]:
    """Rows [C, 77, 128] and the row of every (scene, template) [472, T + 1].

    The last column is the empty caption's row.
    """
    tokenizer = load_tokenizer(out / "tokenizer")
    encoder = load_text_encoder(tokenizer, out / "text.pt")
    rows: dict[str, int] = {"": 0}
    index = [[rows.setdefault(scene.caption(t), len(rows)) for t in TEMPLATES] + [0] for scene in training_scenes()]
    return embed(encoder, tokenizer, list(rows)), torch.tensor(index)


def template_odds(plan: UnetPlan) -> np.ndarray[Any, Any]:
    """How often each template, and last the empty caption, is drawn."""
    full = 1 - plan.drop_caption - plan.partial_caption
    odds = [
        *(full * (0.5 if t == MAIN_TEMPLATE else 0.5 / (len(FULL_TEMPLATES) - 1)) for t in FULL_TEMPLATES),
        *([plan.partial_caption / len(PARTIAL_TEMPLATES)] * len(PARTIAL_TEMPLATES)),
        plan.drop_caption,
    ]
    return np.array(odds) / sum(odds)


@torch.no_grad()
def sample_latents(
    unet: UNet2DConditionModel,
    context: Tensor,
    empty: Tensor,
    guidance: float,
    seed: int,
    steps: int = 20,
) -> Tensor:
    """Latents [N, 4, 8, 8] for caption embeddings [N, 77, 128], by DDIM with guidance."""
    scheduler = ddim_scheduler()
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(len(context), 4, 8, 8, generator=generator)
    both = torch.cat([empty.expand_as(context), context])
    for t in scheduler.timesteps:
        noise = unet(torch.cat([latents, latents]), t, both).sample
        without, with_caption = noise.chunk(2)
        noise = without + guidance * (with_caption - without)
        latents = scheduler.step(noise, t, latents, eta=0.0).prev_sample
    return latents


class Examiner:
    """Samples a few held-out captions and checks the pictures, during training."""

    def __init__(self, out: Path, count: int = 64) -> None:
        """Reads the frozen parts from the training folder."""
        tokenizer = load_tokenizer(out / "tokenizer")
        encoder = load_text_encoder(tokenizer, out / "text.pt")
        self.scenes: list[Scene] = list(held_out_scenes()[:count])
        self.context = embed(encoder, tokenizer, [s.caption() for s in self.scenes])
        self.empty = embed(encoder, tokenizer, [""])
        self.vae = load_scaled_vae(out)

    @torch.no_grad()
    def images(self, unet: UNet2DConditionModel, guidance: float) -> np.ndarray[Any, Any]:
        """Pictures [N, 64, 64, 3] in 0..1."""
        latents = sample_latents(unet, self.context, self.empty, guidance, SEED)
        return np.concatenate([to_images(self.vae.decode(p / SCALING_FACTOR).sample) for p in torch.chunk(latents, 2)])

    def report(self, unet: UNet2DConditionModel, guidance: float) -> str:
        """The check's shares in one line."""
        return format_tally(tally(self.images(unet, guidance), self.scenes))


def _work(rank: int, world: int, plan: UnetPlan) -> None:
    torch.manual_seed(SEED)
    unet = build_unet()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01)
    average = Average(unet, 0.9985)
    start = 0
    if plan.checkpoint.exists():
        state = torch.load(plan.checkpoint, weights_only=False)
        unet.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.values, average.count = state["average"], state["step"]
        start = state["step"]
    latents, scene = load_latents(plan.out)
    rows, index = caption_embeddings(plan.out)
    odds = template_odds(plan)
    alphas = ddim_scheduler().alphas_cumprod
    examiner = Examiner(plan.out) if rank == 0 else None
    began, losses = time.monotonic(), []
    for step in range(start, plan.steps):
        # A generator for each step makes a resumed run draw what an unbroken one would.
        rng = np.random.default_rng((SEED, step, rank))
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + step * 8 + rank)
        pick = torch.from_numpy(rng.integers(0, len(latents), size=plan.batch))
        template = torch.from_numpy(rng.choice(len(odds), size=plan.batch, p=odds))
        context = rows[index[scene[pick], template]]
        clean = latents[pick]
        noise = torch.randn(clean.shape, generator=generator)
        # Evenly spread within the batch: the loss of a step then varies less.
        spread = (np.arange(plan.batch) + rng.random(plan.batch)) / plan.batch
        t = torch.from_numpy((spread * 1000).astype(np.int64))
        alpha = alphas[t][:, None, None, None]
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = unet(noisy, t, context).sample
        weight = (1 / alpha).clamp(max=plan.weight_cap)
        loss = ((made.float() - noise).square() * weight).mean()
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, plan.steps, plan.rate)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        average_gradients(unet.parameters(), world)
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        if examiner is None:
            continue
        average.update(unet)
        losses.append(float(loss.detach()))
        if (step + 1) % 100 == 0:
            rate = (step + 1 - start) * plan.batch * world / (time.monotonic() - began)
            print(f"unet {step + 1}/{plan.steps} loss {np.mean(losses):.4f} {rate:.0f}/s", flush=True)
            losses.clear()
        if (step + 1) % 200 == 0 or step + 1 == plan.steps:
            save_atomically(
                {
                    "model": unet.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.values,
                    "step": step + 1,
                },
                plan.checkpoint,
            )
        if (step + 1) % plan.evaluate_every == 0 or step + 1 == plan.steps:
            averaged = build_unet().eval()
            average.copy_to(averaged)
            print("unet held-out:", examiner.report(averaged, 3.0), flush=True)


def load_unet(checkpoint: Path) -> UNet2DConditionModel:
    """The averaged weights of a checkpoint."""
    unet = build_unet()
    for parameter, value in zip(unet.parameters(), torch.load(checkpoint, weights_only=False)["average"], strict=True):
        parameter.data.copy_(value)
    return unet.eval().requires_grad_(False)


def train_unet(plan: UnetPlan) -> None:
    """Runs (or resumes) the stage; afterwards `plan.checkpoint` holds the weights."""
    launch(_work, plan.workers, plan)
