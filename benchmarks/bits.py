"""How many bits a palette needs: the caption score of ``shapes`` by bits, generated with the bundles themselves.

    doit build && doit build config=shapes-bits && python benchmarks/bits.py [captions]

One image of each held-out caption through ``Resources/*.mlmodelc``, 20 steps, guidance 2, seed 93 for all, judged by
``sdbuild.shapes.score``: share of images in which size, colour, shape, background, and all four are right.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from sdbuild.generate import Pipeline
from sdbuild.generate.options import Options
from sdbuild.shapes.evaluate import GUIDANCE, STEPS
from sdbuild.shapes.scenes import held_out_scenes
from sdbuild.shapes.score import tally

BUNDLES = {"16": "build/shapes"} | {str(bits): f"build/shapes-bits/{bits}bit" for bits in (8, 6, 4, 2, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=int, nargs="?", default=200, help="how many of them (200)")
    count = parser.parse_args().captions
    torch.set_num_threads(1)
    scenes = list(held_out_scenes()[:count])
    captions = [scene.caption() for scene in scenes]
    print("| bits | UNet MB | size | colour | shape | background | all four |\n|---|---|---|---|---|---|---|")
    for bits, folder in BUNDLES.items():
        generated = Pipeline.open(Path(folder)).generate_all(captions, options=Options(steps=STEPS, guidance=GUIDANCE))
        images = np.stack([np.asarray(image.pillow, np.float32) / 255 for image in generated])
        score = tally(images, scenes)
        package = Path(folder, "packages/Unet.mlpackage")
        size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file()) / 1e6
        shares = " | ".join(f"{score[name]:.1%}" for name in ("size", "colour", "shape", "background", "all"))
        print(f"| {bits} | {size:.1f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
