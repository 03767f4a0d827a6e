"""One denoising step through the runtime and through eager diffusers, in turn in one process: times, ratio, PSNR.

    python benchmarks/runtime.py [quarter|sd15] [runs]

CPU seconds of one thread, random weights, 64x64 latents, batch 2; sd15 is the full-size UNet and takes some 10 GB.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.coreml.runtime import load
from sdbuild.modeling.components import PREFIX, Shape, build
from sdbuild.modeling.tracing import load_trace, trace

_BLOCKS = {
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
CONFIGS = {
    "sd15": _BLOCKS
    | {
        "sample_size": 64,
        "block_out_channels": [320, 640, 1280, 1280],
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "layers_per_block": 2,
    },
    "quarter": _BLOCKS
    | {
        "sample_size": 64,
        "block_out_channels": [128, 256, 512, 512],
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "layers_per_block": 2,
    },
}


def main() -> None:
    torch.set_num_threads(1)
    name, runs = (sys.argv[1:] + ["quarter", "5"][len(sys.argv) - 1 :])[:2]
    torch.manual_seed(0)
    config, size = CONFIGS[name], 64
    model = UNet2DConditionModel(**config).eval()
    component = build("unet", config, Shape(height=8 * size, width=8 * size, batch=2))
    with tempfile.TemporaryDirectory() as folder:
        trace(component, Path(folder) / "graph.pt2")
        state = model.state_dict()
        convert(
            load_trace(Path(folder) / "graph.pt2"),
            lambda key: state[key].numpy(),
            Path(folder) / "u.mlpackage",
            inputs=[Port(each, "float16") for each in ("sample", "timestep", "encoder_hidden_states")],
            outputs=[Port("noise_pred", "float32")],
            opset="CoreML6",
            precision="float16",
            metadata=Metadata(),
            prefix=PREFIX,
        )
        compile_package(Path(folder) / "u.mlpackage", Path(folder) / "u.mlmodelc", weights="link")
        start = time.perf_counter()
        unet = load(Path(folder) / "u.mlmodelc")
        opened = time.perf_counter() - start
        x, context, t = (
            torch.randn(2, 4, size, size),
            torch.randn(2, config["cross_attention_dim"], 1, 77),
            torch.full((2,), 37.0),
        )
        feed = {"sample": x.numpy(), "timestep": t.numpy(), "encoder_hidden_states": context.numpy()}
        states = context.squeeze(2).transpose(1, 2).contiguous()

        def eager() -> np.ndarray:
            with torch.inference_mode():
                return model(x, t, states).sample.numpy()

        times: dict[str, list[float]] = {"eager": [], "runtime": []}
        for _ in range(int(runs) + 1):
            for kind, step in (("eager", eager), ("runtime", lambda: unet.predict(feed)["noise_pred"])):
                start = time.process_time()
                result = step()
                times[kind].append(time.process_time() - start)
                if kind == "eager":
                    reference = result
        noise = float(np.sqrt(np.mean((reference - result) ** 2)))
        best = {kind: min(each[1:]) for kind, each in times.items()}
        print(
            json.dumps(
                {
                    "model": name,
                    "opened_s": round(opened, 2),
                    "best_cpu_s": best,
                    "ratio": round(best["runtime"] / best["eager"], 3),
                    "psnr_db": round(float(20 * np.log10(np.abs(reference).max() / noise)), 1),
                }
            )
        )


if __name__ == "__main__":
    main()
