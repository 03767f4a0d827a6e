"""How trace and convert grow with a model: time and peak memory against its parameters, and against its operations.

    python -m benchmarks.growth IMAGE.svg [--folder FOLDER]      (needs matplotlib: pip install -e '.[benchmarks]')

UNets of Stable Diffusion's form with random weights. Parameters: original attention, four widths up to the real SD 1.5, and
SDXL. Operations: one UNet, the real SDXL, cut into ever more attention. Each stage is a process of its own.
"""

import argparse
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import models
from benchmarks.architectures import UNETS
from benchmarks.full_size import Bench
from benchmarks.measure import GIB, Run
from sdbuild.coreml.package import read_package

_WIDTHS = {"sd-0.1": (96, 224, 448, 448), "sd-0.4": (224, 448, 896, 896), "sd-0.9": (320, 640, 1280, 1280)}
_SDXL = UNETS["sdxl"]


@dataclass(frozen=True)
class Point:
    """What one model took: seconds of both stages, the larger peak in GiB."""

    name: str
    parameters: int
    operations: int
    stages: tuple[Run, Run]


def measure(bench: Bench, name: str, family: str, unet: dict[str, Any], attention: str, size: int) -> Point:
    model = models.make(family, bench.folder / name, unet)
    os.sync()  # what was just written is not to be waited for in what is measured
    chosen = {"target": {"os": "macOS13"}, "components": ["unet"], "attention": attention}
    recipe = bench.recipe(name, family, chosen | {"resolution": f"{size}x{size}", "model": {"source": str(model)}})
    bench.fresh()
    bench.build(recipe, "download:unet")
    stages = bench.build(recipe, "trace:unet"), bench.build(recipe, "convert:unet")
    package = read_package(next(bench.store.glob("artifacts/convert/*/Unet.mlpackage")))
    (block,) = package.spec.mlProgram.functions["main"].block_specializations.values()
    operations = sum(operation.type != "const" for operation in block.operations)
    parameters = sum(tensor.numel() for tensor in models.architecture(unet).parameters())
    bench.fresh()
    point = Point(f"{name} {attention} {size}", parameters, operations, stages)
    print(
        f"| {point.name} | {parameters / 1e9:.2f} | {operations} | {' | '.join(run.row() for run in stages)} |",
        flush=True,
    )
    return point


def plot(by_parameters: Sequence[Point], by_operations: Sequence[Point], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "sdbuild", "font.size": 9, "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(8, 5.5), layout="constrained")
    columns = (
        (by_parameters, "parameters, billions", [point.parameters / 1e9 for point in by_parameters]),
        (by_operations, "operations, thousands", [point.operations / 1e3 for point in by_operations]),
    )
    for column, (points, label, x) in enumerate(columns):
        for row, (unit, value) in enumerate(
            (("wall, seconds", lambda run: run.seconds), ("peak, GiB", lambda run: run.peak / GIB))
        ):
            axis = axes[row][column]
            for number, stage in enumerate(("trace", "convert")):
                axis.plot(x, [value(point.stages[number]) for point in points], marker="o", label=stage)
            axis.set(xlabel=label, ylabel=unit, xlim=(0, None), ylim=(0, None))
            axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image", type=Path, help="the SVG to write")
    parser.add_argument("--folder", type=Path, help="where models and stores go; models are kept")
    given = parser.parse_args()
    if importlib.util.find_spec("matplotlib") is None:  # before hours of measuring
        parser.error("matplotlib is missing: pip install -e '.[benchmarks]'")
    with tempfile.TemporaryDirectory(prefix="sdbuild-bench-") as temporary:
        bench = Bench((given.folder or Path(temporary)).resolve())
        print(
            "| UNet | billions | operations | trace | peak | convert | peak |\n|---|---|---|---|---|---|---|",
            flush=True,
        )
        by_parameters = [
            measure(bench, name, "sd1", UNETS["sd1"] | {"block_out_channels": list(widths)}, "original", 512)
            for name, widths in _WIDTHS.items()
        ]
        by_parameters.append(measure(bench, "sdxl-2.6", "sdxl", _SDXL, "original", 512))
        by_operations = [
            by_parameters[-1],
            *(
                measure(bench, "sdxl-2.6", "sdxl", _SDXL, attention, size)
                for attention, size in (("split_einsum", 512), ("split_einsum_v2", 512), ("split_einsum_v2", 768))
            ),
        ]
        plot(by_parameters, by_operations, given.image)


if __name__ == "__main__":
    main()
