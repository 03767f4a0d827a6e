"""Trains the embedding that comes with the model, `token`: `python -m sdbuild.shapes.train_embedding`.

Textual inversion (Gal et al., "An image is worth one word", 2022): two vectors, learned from images of large purple crosses on
four backgrounds, come to stand for "large purple cross"; everything else is frozen. Saved as A1111 saves its embeddings in
safetensors: one tensor, `emb_params`. Two minutes on one processor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor

from sdbuild.parser import Parser
from sdbuild.program import run_program
from sdbuild.shapes.evaluate import generate, load_pipeline
from sdbuild.shapes.parallel import cosine_rate
from sdbuild.shapes.scenes import COLOURS, Scene, render
from sdbuild.shapes.score import format_tally, tally
from sdbuild.shapes.train_text import tokenize
from sdbuild.shapes.train_unet import SEED
from sdbuild.shapes.train_vae import to_tensor

EMBEDDING_FILE = Path(__file__).parent / "model" / "embeddings" / "grezquz.safetensors"
SIZE, COLOUR, SHAPE = "large", "purple", "cross"
SEEN = ("red", "green", "yellow", "black")
"""Backgrounds of the images that it is learned from; the others are for the score."""
TEMPLATES = ("a {} on a {} background", "{} on a {} background", "{} on {}", "a picture of a {} on a {} background")
_PLACES = ("<learned-0>", "<learned-1>")  # for the tokenizer here, which finds added words before it joins letters
_VECTORS = " ".join(_PLACES)
_SAMPLES = 512  # images, encoded once


def scenes(backgrounds: tuple[str, ...]) -> list[Scene]:
    """What the token stands for, before each of them."""
    return [Scene(SIZE, COLOUR, SHAPE, background) for background in backgrounds]


def with_places(pipeline: StableDiffusionPipeline) -> torch.nn.Parameter:
    """Add the vectors to a pipeline, as they are before training; returns the whole table."""
    pipeline.tokenizer.add_tokens(list(_PLACES))
    pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer))
    table: torch.nn.Parameter = pipeline.text_encoder.get_input_embeddings().weight
    start = pipeline.tokenizer("shape", add_special_tokens=False).input_ids[0]
    with torch.no_grad():
        table[-len(_PLACES) :] = table[start]
    return table


def train(steps: int, rate: float, batch: int, out: Path) -> None:
    """Train, and write the file."""
    torch.manual_seed(SEED)
    pipeline = load_pipeline()
    table = with_places(pipeline)
    for model in (pipeline.text_encoder, pipeline.unet, pipeline.vae):
        model.requires_grad_(False)
    print(f"before: {score(pipeline)}", flush=True)
    rng = np.random.default_rng(SEED)
    pool = scenes(SEEN)
    picked = [pool[i] for i in rng.integers(0, len(pool), _SAMPLES)]
    latents = _encoded(pipeline, render(picked, rng)[0])
    vectors = table[-len(_PLACES) :].detach().clone().requires_grad_(True)
    frozen = table[: -len(_PLACES)].detach().clone()
    optimizer = torch.optim.AdamW([vectors], lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    alphas = pipeline.scheduler.alphas_cumprod
    for step in range(steps):
        index = rng.integers(0, _SAMPLES, batch)
        captions = [TEMPLATES[rng.integers(len(TEMPLATES))].format(_VECTORS, picked[i].background) for i in index]
        context = _context(pipeline, torch.cat([frozen, vectors]), captions)
        noise = torch.from_numpy(rng.standard_normal((batch, 4, 8, 8), np.float32))
        t = torch.from_numpy(((np.arange(batch) + rng.random(batch)) / batch * 1000).astype(np.int64))
        alpha = alphas[t][:, None, None, None]
        noisy = alpha.sqrt() * latents[index] + (1 - alpha).sqrt() * noise
        loss = ((pipeline.unet(noisy, t, context).sample - noise).square() * (1 / alpha).clamp(max=20.0)).mean()
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, rate)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(f"embedding {step + 1}/{steps} loss {float(loss.detach()):.4f}", flush=True)
    with torch.no_grad():
        table[-len(_PLACES) :] = vectors
    print(f"after: {score(pipeline)}", flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": vectors.detach().half()}, str(out))


def _encoded(pipeline: StableDiffusionPipeline, images: np.ndarray[Any, Any]) -> Tensor:
    with torch.no_grad():
        parts = torch.chunk(to_tensor(images), 16)
        means = torch.cat([pipeline.vae.encode(part).latent_dist.mean for part in parts])
    scaled: Tensor = means * pipeline.vae.config.scaling_factor
    return scaled


def _context(pipeline: StableDiffusionPipeline, table: Tensor, captions: list[str]) -> Tensor:
    ids = tokenize(pipeline.tokenizer, captions)
    hidden: Tensor = torch.func.functional_call(
        pipeline.text_encoder, {_table_name(pipeline): table}, (), {"input_ids": ids}
    ).last_hidden_state
    return hidden


def _table_name(pipeline: StableDiffusionPipeline) -> str:
    table = pipeline.text_encoder.get_input_embeddings().weight
    named: dict[str, Tensor] = dict(pipeline.text_encoder.named_parameters())
    return next(name for name, parameter in named.items() if parameter is table)


def score(pipeline: StableDiffusionPipeline) -> str:
    """How many images are right, four before each background that the vectors were not learned with."""
    wanted = scenes(tuple(each for each in COLOURS if each not in (*SEEN, COLOUR))) * 4
    captions = [TEMPLATES[0].format(_VECTORS, scene.background) for scene in wanted]
    return format_tally(tally(generate(pipeline, captions), wanted))


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=EMBEDDING_FILE)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    train(options.steps, options.rate, options.batch, options.out)
    return 0


if __name__ == "__main__":
    run_program(main)
