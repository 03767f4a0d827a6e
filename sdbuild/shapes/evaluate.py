"""Scores a diffusers folder on the held-out captions: `python -m sdbuild.shapes.evaluate`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, PNDMScheduler, StableDiffusionPipeline
from PIL import Image, ImageDraw

from sdbuild.parser import Parser
from sdbuild.program import run_program
from sdbuild.shapes.scenes import Scene, held_out_scenes
from sdbuild.shapes.score import check, format_tally, tally

MODEL_FOLDER = Path(__file__).parent / "model"
STEPS = 20
# Chosen by measurement; see README.md beside this file.
GUIDANCE = 2.0

# The two samplers of Apple's Swift package.
OTHERS = {"pndm": PNDMScheduler, "dpm": DPMSolverMultistepScheduler}


def load_pipeline(folder: Path = MODEL_FOLDER) -> StableDiffusionPipeline:
    """The model of a folder in float32, from local files only."""
    pipeline: StableDiffusionPipeline = StableDiffusionPipeline.from_pretrained(str(folder), local_files_only=True).to(
        torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(
    pipeline: StableDiffusionPipeline,
    captions: list[str],
    *,
    guidance: float = GUIDANCE,
    steps: int = STEPS,
    seed: int = 0,
    batch: int = 50,
) -> np.ndarray[Any, Any]:
    """One picture of every caption: float32 [N, 64, 64, 3] in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    parts = [
        pipeline(
            captions[i : i + batch],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generator,
            output_type="np",
        ).images
        for i in range(0, len(captions), batch)
    ]
    return np.concatenate(parts)


def contact_sheet(images: np.ndarray[Any, Any], scenes: list[Scene], path: Path) -> None:
    """Pictures with their captions, 8 to a row; a wrong one has a red frame."""
    cell_w, cell_h, columns = 128, 160, 8
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * cell_w, rows * cell_h), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    for i, (image, scene) in enumerate(zip(images, scenes, strict=True)):
        x, y = i % columns * cell_w, i // columns * cell_h
        if not check(image).is_right(scene):
            draw.rectangle((x + 4, y + 4, x + 123, y + 123), fill=(255, 0, 80))
        tile = Image.fromarray((image * 255).round().astype(np.uint8))
        sheet.paste(tile.resize((112, 112), Image.Resampling.BICUBIC), (x + 8, y + 8))
        text = f"{scene.size} {scene.colour}\n{scene.shape}, {scene.background}"
        draw.multiline_text((x + 8, y + 126), text, fill=(20, 20, 20))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--guidance", type=float, nargs="+", default=[GUIDANCE])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="how many held-out captions")
    parser.add_argument("--scheduler", choices=["own", *OTHERS], default="own")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet (PNG) of 48 pictures")
    parser.add_argument("--json", type=Path, help="write the shares of the last guidance")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scenes = list(held_out_scenes()[: options.count])
    pipeline = load_pipeline(options.model)
    if options.scheduler != "own":
        pipeline.scheduler = OTHERS[options.scheduler].from_config(pipeline.scheduler.config)
    for guidance in options.guidance:
        began = time.monotonic()
        images = generate(
            pipeline, [s.caption() for s in scenes], guidance=guidance, steps=options.steps, seed=options.seed
        )
        result = tally(images, scenes)
        print(
            f"{type(pipeline.scheduler).__name__} guidance {guidance:g}, {options.steps} steps, "
            f"{len(scenes)} pictures in {time.monotonic() - began:.0f} s: "
            f"{format_tally(result)}",
            flush=True,
        )
    if options.sheet:
        contact_sheet(images[:48], scenes[:48], options.sheet)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    run_program(main)
