"""One denoising step through the runtime and through eager diffusers.

CPU time, ratio and PSNR come from turns in one process; peak memory from a process each, also for the runtime with a budget
of 1 GiB for decoded weights.

    python benchmarks/runtime.py [shapes|quarter|sd15] [runs]

One thread, random weights, batch 2, 64x64 latents (shapes: 8x8). sd15 is the full-size UNet: some 10 GB, some minutes.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.coreml.runtime import load
from sdbuild.graphs import read_graph
from sdbuild.modeling.tracing import trace
from sdbuild.opset import Opset
from tests.architectures import Shape, build

SHAPES = Path(__file__).parents[1] / "sdbuild/shapes/model/unet/config.json"
BLOCKS = {
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "layers_per_block": 2,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "shapes": json.loads(SHAPES.read_text()),
    "quarter": BLOCKS | {"block_out_channels": [128, 256, 512, 512]},
    "sd15": BLOCKS | {"block_out_channels": [320, 640, 1280, 1280]},
}
BUDGETS = {"runtime": None, "runtime, 1 GiB": 1 << 30}
Step = Callable[[], np.ndarray]


def original(name: str) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel.from_config(CONFIGS[name]).eval()


def make(name: str, folder: Path) -> None:
    """Write the compiled model into ``folder``."""
    size = CONFIGS[name]["sample_size"]
    trace(build("unet", CONFIGS[name], Shape(8 * size, 8 * size, 2)), folder / "graph.json")
    state = original(name).state_dict()
    inputs = [Port(each, "float16") for each in ("sample", "timestep", "encoder_hidden_states")]
    convert(
        read_graph(folder / "graph.json"),
        lambda key: state[key].numpy(),
        folder / "u.mlpackage",
        inputs=inputs,
        outputs=[Port("noise_pred", "float32")],
        opset=Opset.IOS16,
        precision="float16",
        metadata=Metadata(),
    )
    compile_package(folder / "u.mlpackage", folder / "u.mlmodelc", weights="link")


def step_of(kind: str, name: str, folder: Path) -> Step:
    config = CONFIGS[name]
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn((2, 4, config["sample_size"], config["sample_size"]), generator=generator)
    context = torch.randn((2, config["cross_attention_dim"], 1, 77), generator=generator)
    timestep = torch.full((2,), 37.0)
    if kind == "eager":
        model, states = original(name), context.squeeze(2).transpose(1, 2).contiguous()

        def eager() -> np.ndarray:
            with torch.inference_mode():
                return model(sample, timestep, states).sample.numpy()

        return eager
    unet = load(folder / "u.mlmodelc", decoded_bytes=BUDGETS[kind])
    feed = {"sample": sample.numpy(), "timestep": timestep.numpy(), "encoder_hidden_states": context.numpy()}
    return lambda: unet.predict(feed)["noise_pred"]


def side_by_side(name: str, runs: int, folder: Path) -> dict[str, Any]:
    steps = {kind: step_of(kind, name, folder) for kind in ("eager", "runtime")}
    results = {kind: step() for kind, step in steps.items()}  # not counted: weights are decoded here
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for _ in range(runs):
        for kind, step in steps.items():
            start = time.process_time()
            step()
            times[kind].append(time.process_time() - start)
    noise = float(np.sqrt(np.mean((results["eager"] - results["runtime"]) ** 2)))
    best = {kind: min(each) for kind, each in times.items()}
    return {
        "model": name,
        "best CPU seconds": {kind: round(seconds, 4) for kind, seconds in best.items()},
        "runtime / eager": round(best["runtime"] / best["eager"], 3),
        "PSNR dB": round(float(20 * np.log10(np.abs(results["eager"]).max() / noise)), 1),
    }


def peak_of(kind: str, name: str, folder: Path) -> float:
    """GB, of a process that takes two steps of a kind."""
    words = [sys.executable, __file__, name, "peak", kind, str(folder)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    torch.set_num_threads(1)
    name, *rest = sys.argv[1:] or ["quarter"]
    if rest[:1] == ["peak"]:
        step = step_of(rest[1], name, Path(rest[2]))
        step()
        step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make(name, folder)
        peaks = {kind: round(peak_of(kind, name, folder), 2) for kind in ("eager", *BUDGETS)}
        print(json.dumps(side_by_side(name, int(rest[0]) if rest else 5, folder) | {"peak GB": peaks}, indent=2))


if __name__ == "__main__":
    main()
