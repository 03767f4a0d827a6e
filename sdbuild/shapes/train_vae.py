"""Stage `vae`: the autoencoder between 64x64 pictures and 8x8x4 latents.

Trained on scenes drawn afresh for every step. The shapes are tiny, so the pixels near an
outline weigh more in the loss; the KL term keeps the latents smooth enough to be denoised.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from sdbuild.shapes.parallel import (
    Average,
    average_gradients,
    cosine_rate,
    launch,
    save_atomically,
)
from sdbuild.shapes.scenes import all_scenes, draw_scenes, render
from sdbuild.shapes.score import format_tally, tally

# Swift's Stable Diffusion pipeline has this constant built in, so the latents are brought
# to unit variance by folding their scale into the VAE's own weights instead.
SCALING_FACTOR = 0.18215
SEED = 11


@dataclass(frozen=True)
class VaePlan:
    """What one run of the stage does; `steps` may change when a run is resumed."""

    out: Path
    steps: int
    workers: int
    batch: int = 32
    rate: float = 2e-3
    kl_weight: float = 2e-3

    @property
    def checkpoint(self) -> Path:
        """Where the run saves its state."""
        return self.out / "vae.pt"


def build_vae() -> AutoencoderKL:
    """The untrained autoencoder."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=SCALING_FACTOR,
    )


def to_tensor(images: np.ndarray[Any, Any]) -> Tensor:
    """[N, 64, 64, 3] in 0..1 to [N, 3, 64, 64] in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous() * 2 - 1


def to_images(pixels: Tensor) -> np.ndarray[Any, Any]:
    """[N, 3, 64, 64] in -1..1 to [N, 64, 64, 3] in 0..1."""
    result: np.ndarray[Any, Any] = (pixels.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return result


def picture_loss(made: Tensor, wanted: Tensor, distance: Tensor) -> Tensor:
    """L1 plus squared error, pixels within 2.5 of an outline counting fourfold.

    `made`, `wanted`: [N, 3, 64, 64]; `distance`: signed distance [N, 64, 64].
    """
    weight = 1 + 3 * (distance.abs() < 2.5).to(made.dtype)[:, None]
    error = (made - wanted).abs()
    return ((error + error.square()) * weight).mean()


@torch.no_grad()
def reconstruction_report(vae: AutoencoderKL, count: int = 300) -> str:
    """PSNR and image check of the VAE's reconstructions of fresh scenes."""
    rng = np.random.default_rng(SEED + 7)
    scenes = draw_scenes(all_scenes(), count, rng)
    images, _ = render(scenes, rng)
    made = np.concatenate(
        [
            to_images(vae.decode(vae.encode(to_tensor(part)).latent_dist.mean).sample)
            for part in np.array_split(images, max(1, count // 50))
        ]
    )
    decibel = -10 * np.log10(np.mean((made - images) ** 2))
    return f"psnr {decibel:.1f} dB  {format_tally(tally(made, scenes))}"


def _work(rank: int, world: int, plan: VaePlan) -> None:
    torch.manual_seed(SEED)
    vae = build_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0)
    average = Average(vae, 0.998)
    start = 0
    if plan.checkpoint.exists():
        state = torch.load(plan.checkpoint, weights_only=False)
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.values, average.count = state["average"], state["step"]
        start = state["step"]
    scenes = all_scenes()
    began, losses = time.monotonic(), []
    for step in range(start, plan.steps):
        # A generator for each step makes a resumed run draw what an unbroken one would.
        rng = np.random.default_rng((SEED, step, rank))
        torch.manual_seed(SEED * 1_000_003 + step * 8 + rank)
        images, distance = render(draw_scenes(scenes, plan.batch, rng), rng)
        wanted = to_tensor(images)
        # bfloat16 convolutions are 1.5 times as fast on the CPU; the losses stay float32.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            moments = vae.encode(wanted).latent_dist.parameters.float()
            posterior = DiagonalGaussianDistribution(moments)
            made = vae.decode(posterior.sample()).sample
        loss = picture_loss(made.float(), wanted, torch.from_numpy(distance))
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        # The KL term comes in slowly: at full weight from the start it empties the latents.
        total = loss + plan.kl_weight * min(1.0, step / 500) * kl
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, plan.steps, plan.rate)
        optimizer.zero_grad()
        torch.autograd.backward(total)
        average_gradients(vae.parameters(), world)
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if rank == 0:
            average.update(vae)
            losses.append(float(loss.detach()))
            if (step + 1) % 100 == 0:
                rate = (step + 1 - start) * plan.batch * world / (time.monotonic() - began)
                print(
                    f"vae {step + 1}/{plan.steps} loss {np.mean(losses):.4f} kl {float(kl.detach()):.3f} {rate:.0f}/s",
                    flush=True,
                )
                losses.clear()
            if (step + 1) % 200 == 0 or step + 1 == plan.steps:
                save_atomically(
                    {
                        "model": vae.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "average": average.values,
                        "step": step + 1,
                    },
                    plan.checkpoint,
                )
            if (step + 1) % 400 == 0 or step + 1 == plan.steps:
                averaged = build_vae()
                average.copy_to(averaged)
                print("vae reconstruction:", reconstruction_report(averaged), flush=True)


def load_vae(checkpoint: Path) -> AutoencoderKL:
    """The averaged weights of a checkpoint, latents not yet scaled."""
    state = torch.load(checkpoint, weights_only=False)
    vae = build_vae()
    vae.load_state_dict(state["model"])
    for parameter, value in zip(vae.parameters(), state["average"], strict=True):
        parameter.data.copy_(value)
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def encode_pool(vae: AutoencoderKL, images: np.ndarray[Any, Any]) -> Tensor:
    """Posterior means [N, 4, 8, 8] of images [N, 64, 64, 3] in 0..1, in batches."""
    parts = [vae.encode(to_tensor(images[i : i + 64])).latent_dist.mean for i in range(0, len(images), 64)]
    return torch.cat(parts)


@torch.no_grad()
def fold_scale(vae: AutoencoderKL, latents: Tensor) -> None:
    """Makes `latents * 0.18215` zero-mean and unit-variance per channel, in place.

    `latents`: means [N, 4, 8, 8] of the unscaled VAE. The shift and scale go into the two
    1x1 convolutions on either side of the latents, so pictures stay what they were.
    """
    mean = latents.mean(dim=(0, 2, 3))
    scale = latents.std(dim=(0, 2, 3)) * SCALING_FACTOR
    quant, post = vae.quant_conv, vae.post_quant_conv
    assert quant is not None and post is not None
    channels = mean.numel()
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= scale[None, :, None, None]
    quant.weight[:channels] /= scale[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / scale
    quant.bias[channels:] -= 2 * scale.log()


def train_vae(plan: VaePlan) -> None:
    """Runs (or resumes) the stage; afterwards `plan.checkpoint` holds the weights."""
    plan.out.mkdir(parents=True, exist_ok=True)
    launch(_work, plan.workers, plan)
