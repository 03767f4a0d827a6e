"""What LoRAs cost: conversion of a UNet with and without two of them, in turn, in one run.

    python -m benchmarks.loras [--family sdxl] [--folder FOLDER] [--model MODEL] [--rank 32] [--times 2]

The model has random weights (SDXL: 2.6 G, float16) and is made in FOLDER, or it is MODEL, a folder of diffusers. The LoRAs are
of all linear layers in the transformers of the UNet: attention and feed-forward, in kohya's names. What is measured is the
task ``convert:unet``, all processes of the build together; download, trace and the look at the LoRAs come before it.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from torch import nn

from benchmarks import models
from benchmarks.architectures import UNETS
from benchmarks.full_size import Bench
from benchmarks.measure import Run


def write_lora(family: str, path: Path, rank: int, seed: int) -> None:
    """A file of float16 with an alpha for each layer."""
    random, tensors = np.random.Generator(np.random.SFC64(seed)), {}
    for name, module in models.architecture(UNETS[family]).named_modules():
        if isinstance(module, nn.Linear) and ".transformer_blocks." in name:
            key = f"lora_unet_{name.replace('.', '_')}"
            down = random.standard_normal((rank, module.in_features), np.float32) * 0.02
            up = random.standard_normal((module.out_features, rank), np.float32) * 0.02
            tensors |= {
                f"{key}.lora_down.weight": down.astype(np.float16),
                f"{key}.lora_up.weight": up.astype(np.float16),
            }
            tensors[f"{key}.alpha"] = np.float16([rank / 2])
    save_file(tensors, path)


def compare(bench: Bench, family: str, model: Path, rank: int, times: int) -> None:
    chosen = {"target": {"os": "macOS13"}, "components": ["unet"], "attention": "original", "resolution": "512x512"}
    loras = []
    for number in range(2):
        path = bench.folder / f"lora-{number}.safetensors"
        write_lora(family, path, rank, number)
        loras.append({"source": str(path), "weight": 0.8 - 0.3 * number})
    recipes = {
        name: bench.recipe(name, family, chosen | {"model": {"source": str(model), **more}})
        for name, more in {"without": {}, "with": {"loras": loras}}.items()
    }
    before = {"without": [], "with": [f"download:lora-lora-{number}" for number in range(2)]}
    runs: dict[str, list[Run]] = {name: [] for name in recipes}
    print("| convert:unet | s | peak |\n|---|---|---|", flush=True)
    for _ in range(times):
        for name, recipe in recipes.items():
            for task in ("download:unet", "trace:unet", *before[name]):
                bench.build(recipe, task)
            shutil.rmtree(bench.store / "artifacts" / "convert", ignore_errors=True)
            os.sync()  # what was just written is not to be waited for in what is measured
            runs[name].append(bench.build(recipe, "convert:unet"))
            print(f"| {name} | {runs[name][-1].row()} |", flush=True)
    seconds = {name: min(run.seconds for run in found) for name, found in runs.items()}
    peaks = {name: min(run.peak for run in found) for name, found in runs.items()}
    print(f"| with / without | {seconds['with'] / seconds['without']:.2f} | {peaks['with'] / peaks['without']:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=UNETS, default="sdxl")
    parser.add_argument("--folder", type=Path, help="where the model and the store go; the model is kept")
    parser.add_argument("--model", type=Path, help="a folder of diffusers, of the family's usual size")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--times", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sdbuild-bench-") as temporary:
        bench = Bench((given.folder or Path(temporary)).resolve())
        bench.folder.mkdir(parents=True, exist_ok=True)
        model = given.model or models.make(given.family, bench.folder / f"{given.family}-unet", UNETS[given.family])
        compare(bench, given.family, model.resolve(), given.rank, given.times)
        bench.fresh()


if __name__ == "__main__":
    main()
