"""Stage `decoder`: the VAE's decoder alone, on latents as faulty as the sampler's.

Encoder and UNet stay frozen, so the latents keep their meaning. Half of the latents get
plain noise, half are noised to an early step and cleaned by the UNet in one go: those carry
the UNet's own errors while the right picture is still known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sdbuild.shapes.parallel import (
    Average,
    average_gradients,
    cosine_rate,
    launch,
    save_atomically,
)
from sdbuild.shapes.scenes import draw_scenes, render, training_scenes
from sdbuild.shapes.score import format_tally, tally
from sdbuild.shapes.train_unet import (
    Examiner,
    caption_embeddings,
    ddim_scheduler,
    load_scaled_vae,
    load_unet,
)
from sdbuild.shapes.train_vae import SCALING_FACTOR, picture_loss, to_images, to_tensor

SEED = 37


@dataclass(frozen=True)
class DecoderPlan:
    """What one run of the stage does."""

    out: Path
    steps: int
    workers: int
    batch: int = 32
    rate: float = 1e-3
    max_noise: float = 0.25  # standard deviation, of latents that have 1
    max_timestep: int = 350


def _work(rank: int, world: int, plan: DecoderPlan) -> None:
    torch.manual_seed(SEED)
    vae = load_scaled_vae(plan.out)
    unet = load_unet(plan.out / "unet.pt")
    rows, index = caption_embeddings(plan.out)
    alphas = ddim_scheduler().alphas_cumprod
    pool = training_scenes()
    place = {scene: i for i, scene in enumerate(pool)}
    trained = torch.nn.ModuleList([vae.decoder, vae.post_quant_conv]).requires_grad_(True)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0)
    average = Average(trained, 0.998)
    state_path, start = plan.out / "decoder-state.pt", 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=False)
        trained.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.values, average.count = state["average"], state["step"]
        start = state["step"]
    examiner = Examiner(plan.out) if rank == 0 else None
    began, losses = time.monotonic(), []
    for step in range(start, plan.steps):
        rng = np.random.default_rng((SEED, step, rank))
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + step * 8 + rank)
        scenes = draw_scenes(pool, plan.batch, rng)
        images, distance = render(scenes, rng)
        wanted = to_tensor(images)
        with torch.no_grad():
            clean = vae.encode(wanted).latent_dist.mean * SCALING_FACTOR
            noise = torch.randn(clean.shape, generator=generator)
            half = plan.batch // 2
            level = torch.rand(half, 1, 1, 1, generator=generator) * plan.max_noise
            t = torch.randint(0, plan.max_timestep, (plan.batch - half,), generator=generator)
            alpha = alphas[t][:, None, None, None]
            noisy = alpha.sqrt() * clean[half:] + (1 - alpha).sqrt() * noise[half:]
            context: Tensor = rows[index[[place[s] for s in scenes[half:]], 0]]
            guess = unet(noisy, t, context).sample
            cleaned = (noisy - (1 - alpha).sqrt() * guess) / alpha.sqrt()
            latents = torch.cat([clean[:half] + level * noise[:half], cleaned])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = vae.decode(latents / SCALING_FACTOR).sample
        loss = picture_loss(made.float(), wanted, torch.from_numpy(distance))
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, plan.steps, plan.rate)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        average_gradients(trained.parameters(), world)
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        if examiner is None:
            continue
        average.update(trained)
        losses.append(float(loss.detach()))
        if (step + 1) % 100 == 0:
            rate = (step + 1 - start) * plan.batch * world / (time.monotonic() - began)
            print(f"decoder {step + 1}/{plan.steps} loss {np.mean(losses):.4f} {rate:.0f}/s", flush=True)
            losses.clear()
        if (step + 1) % 200 == 0 or step + 1 == plan.steps:
            save_atomically(
                {
                    "model": trained.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.values,
                    "step": step + 1,
                },
                state_path,
            )
            raw = {key: value.clone() for key, value in trained.state_dict().items()}
            average.copy_to(trained)
            save_atomically({"model": vae.state_dict()}, plan.out / "decoder.pt")
            examiner.vae = vae
            with torch.no_grad():
                made_check = to_images(vae.decode(clean / SCALING_FACTOR).sample)
            print(
                "decoder held-out:",
                examiner.report(unet, 3.0),
                " reconstruction:",
                format_tally(tally(made_check, scenes)),
                flush=True,
            )
            trained.load_state_dict(raw)


def train_decoder(plan: DecoderPlan) -> None:
    """Runs (or resumes) the stage; `decoder.pt` then holds the whole VAE."""
    launch(_work, plan.workers, plan)
