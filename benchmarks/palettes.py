"""Palettes of a full-size UNet: seconds, peak memory, and how far from the best tables.

    python -m benchmarks.palettes [--coremltools] [--small] [--xl] [--folder FOLDER]

Makes the float package of Stable Diffusion 1.5's UNet (860 M random float16 weights; --xl: SDXL's, 2.6 G; --small: a model of
some millions) through sdbuild's own trace and convert, once a folder (default: a temporary one). Then palettizes it in a
process each, as the compress stage does. --coremltools: beside its ``palettize_weights``, in the same run, with a process
for each processor; at full size that takes the better part of an hour. A process's peak is VmHWM, its memory with what it
mapped of files; of coremltools' worker processes the largest counts once.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.architectures import UNETS

FORMS: dict[str, dict[str, Any]] = {
    "6 bits": {"bits": 6},
    "8 bits": {"bits": 8},
    "4 bits, groups of 16": {"bits": 4, "granularity": "per_grouped_channel", "group_size": 16},
}
MODELS = {
    "sd15": ("unet", UNETS["sd1"]),
    "sdxl": ("unet_xl", UNETS["sdxl"]),
    "small": ("unet", UNETS["sd1"] | {"block_out_channels": [64, 128, 128, 128], "norm_num_groups": 8}),
}
INPUTS = ["sample", "timestep", "encoder_hidden_states", "time_ids", "text_embeds"]
SAMPLED = 12  # tensors whose error is compared with that of the best tables


def make(package: Path, name: str, _output: Path) -> None:
    """Write the float package with normal weights, as wide as layers are initialised, each tensor from its own seed."""
    import zlib

    import numpy as np

    from sdbuild.coreml.convert import Metadata, Port, convert
    from sdbuild.graphs import read_graph
    from sdbuild.modeling.tracing import trace
    from sdbuild.opset import Opset
    from tests.architectures import Shape, build

    kind, config = MODELS[name]
    component = build(kind, config, Shape(512, 512, 2))
    shapes = {key: tuple(value.shape) for key, value in component.module.model.state_dict().items()}
    trace(component, package.with_name("graph.json"))

    def weight(key: str) -> np.ndarray:
        random = np.random.default_rng(zlib.crc32(key.encode()))
        width = max(1, int(np.prod(shapes[key][1:]))) ** -0.5
        return (random.standard_normal(shapes[key], np.float32) * np.float32(width)).astype(np.float16)

    convert(
        read_graph(package.with_name("graph.json")),
        weight,
        package,
        inputs=[Port(each, "float16") for each in INPUTS[: len(component.arguments)]],
        outputs=[Port("noise_pred", "float32")],
        opset=Opset.IOS18,
        precision="float16",
        metadata=Metadata(),
    )


def ours(package: Path, form: str, output: Path) -> None:
    """The stage, from package to package."""
    from sdbuild.job import Found
    from sdbuild.jobs.compress import Compress
    from sdbuild.recipe.steps.palettize import Palettize
    from sdbuild.stages import Place
    from sdbuild.stages.compress import run

    settings = Palettize.model_validate(FORMS[form]).settings()
    for folder in ("artifact", "scratch"):
        (output / folder).mkdir(parents=True)
    job = Compress(steps=({"palettize": settings},), versions={}, tools=(), package=Found(package))
    run(job, Place(output / "artifact", output / "scratch", lambda *_: None))


def theirs(package: Path, form: str, output: Path) -> float:
    """Seconds of ``palettize_weights`` alone, without reading the package and writing it."""
    import coremltools as ct
    import coremltools.optimize.coreml as cto

    options = {"nbits" if key == "bits" else key: value for key, value in FORMS[form].items()}
    config = cto.OpPalettizerConfig(num_kmeans_workers=os.cpu_count(), **options)
    model = ct.models.MLModel(str(package), skip_model_load=True)
    start = time.perf_counter()
    compressed = cto.palettize_weights(model, cto.OptimizationConfig(config))
    seconds = time.perf_counter() - start
    compressed.save(str(output / package.name))
    return seconds


def errors(package: Path, form: str, _output: Path) -> dict[str, float]:
    """Of some tensors, of every size, the squared error over that of the best tables there are: mean and largest."""
    import numpy as np

    from sdbuild.compress.palettize import palettize
    from sdbuild.coreml.package import read_package
    from sdbuild.coreml.rewrite import weights_of
    from sdbuild.coreml.runtime.packing import unpack_bits

    def error(data: np.ndarray, exact: bool) -> float:
        size = FORMS[form].get("group_size")
        size = np.gcd(size, len(data)) if size else None
        palette = palettize(data, FORMS[form]["bits"], "w", group_size=size, exact=exact)
        tables = palette.tables.reshape(len(palette.tables), -1).astype(np.float64)
        flat = data.reshape(len(tables), -1).astype(np.float64)
        indices = unpack_bits(palette.indices.packed, palette.indices.bits, flat.size).reshape(flat.shape)
        return float(((flat - np.take_along_axis(tables, indices, 1)) ** 2).sum())

    weights = [each.data for each in weights_of(read_package(package)) if each.data.ndim > 1 and each.data.size > 2048]
    weights.sort(key=lambda data: data.size)
    sample = weights[:: max(1, len(weights) // SAMPLED)]
    ratios = [error(data, exact=False) / error(data, exact=True) for data in sample]
    return {"mean": sum(ratios) / len(ratios), "largest": max(ratios)}


def child(what: str, package: Path, form: str) -> dict[str, Any]:
    """Run ``what`` in a process of its own: its seconds with all imports, peak in MiB, and what it returns."""
    with tempfile.TemporaryDirectory(dir=package.parent) as output:
        words = [
            sys.executable,
            "-m",
            "benchmarks.palettes",
            "--run",
            what,
            form,
            "--folder",
            output,
            "--package",
            str(package),
        ]
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1048576"}  # coremltools' peak varies without it
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_mib() -> int:
    """Of this process, or of the largest it started."""
    status = Path("/proc/self/status")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if status.exists():  # a process that was forked starts with its parent's ru_maxrss
        own = int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coremltools", action="store_true")
    parser.add_argument("--small", action="store_const", const="small", dest="model", default="sd15")
    parser.add_argument("--xl", action="store_const", const="sdxl", dest="model")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--package", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=2, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run is not None:
        what, form = arguments.run
        start = time.perf_counter()
        work: dict[str, Any] = {"ours": ours, "theirs": theirs, "errors": errors, "make": make}
        result = work[what](arguments.package, form, arguments.folder)
        print(json.dumps({"seconds": time.perf_counter() - start, "MiB": peak_mib(), "result": result}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        compare(Path(arguments.folder or temporary), arguments.model, arguments.coremltools)


def package(folder: Path, model: str) -> Path:
    """The float package of a model in ``folder``, made if it is not there."""
    path = folder / model / "model.mlpackage"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = child("make", path, model)
        print(f"made {path} in {made['seconds']:.0f} s and {made['MiB']} MiB", file=sys.stderr, flush=True)
    return path


def compare(folder: Path, model: str, beside: bool) -> None:
    source = package(folder, model)
    print(
        "| tables | s | MiB | error / best | largest | coremltools s | MiB | faster |\n|---|---|---|---|---|---|---|---|"
    )
    for form in FORMS:
        own = child("ours", source, form)
        error = child("errors", source, form)["result"]
        row = f"| {form} | {own['seconds']:.1f} | {own['MiB']} | {error['mean']:.6f} | {error['largest']:.6f} |"
        if beside:
            other = child("theirs", source, form)
            row += f" {other['result']:.1f} | {other['MiB']} | {other['result'] / own['seconds']:.1f}× |"
        print(row, flush=True)


if __name__ == "__main__":
    main()
