"""The table of what a full-size model costs here: every row in fresh processes, from random weights of the real shapes.

    python -m benchmarks.full_size [--folder FOLDER] [--coremltools] [ROW …]

Rows: ``convert`` (each component and attention variant, trace and convert), ``palettes``, ``sdxl-ios`` (the whole recipe, to
the zip), ``limit`` (the same with 4 GiB of private memory for each process), ``sd15`` (chunks and 6 bits), ``variants``
(twelve of SDXL against one). All by default: 50 GB of disk and about an hour on two cores. ``--coremltools`` adds what plain
coremltools takes for the same, side by side: another hour and 24 GB of memory.

Models and stores are made in FOLDER (a temporary one by default) and models are kept there for the next time.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks import models, palettes
from benchmarks.architectures import TEXT_ENCODERS
from benchmarks.measure import GIB, Run, run

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SDBUILD = [sys.executable, "-c", "import sys; from sdbuild.engine.cli import main; sys.exit(main())"]
VARIANTS = ("original", "split_einsum", "split_einsum_v2")
Rows = Iterator[tuple[str, str]]


PLAIN = [sys.executable, "-m", "benchmarks.plain"]
MEASURED_PLAINLY = {
    "sd1": ("text_encoder", "vae_decoder", *(f"unet@{each}" for each in VARIANTS)),
    "sdxl": ("unet@original",),
}


class Bench:
    """A folder to work in; ``beside``: run coremltools side by side."""

    def __init__(self, folder: Path, beside: bool = False) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.beside = beside

    def recipe(self, name: str, family: str, changes: dict[str, Any], like: str | None = None) -> Path:
        """A recipe of its own, or one of ``configs/`` with the model's source replaced."""
        written = yaml.safe_load((CONFIGS / f"{like}.yaml").read_text()) if like else {"name": name, "pipeline": family}
        if "model" not in changes:
            written |= {"model": {"source": str(models.make(family, self.folder / family))}}
        written |= changes
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(written))
        return path

    def build(self, recipe: Path, *words: str, limit: int | None = None) -> Run:
        """What ``sdbuild build``, or a task, takes."""
        command = [*SDBUILD, *(words or ("build",)), f"config={recipe}"]
        return run(command, {"SDBUILD_STORE": str(self.store)}, limit, self.folder)

    def fresh(self) -> None:
        """Forget what was built."""
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.rmtree(self.folder / "build", ignore_errors=True)


def convert(bench: Bench) -> Rows:
    for family in ("sd1", "sd2", "sdxl"):
        recipe = bench.recipe(
            f"convert-{family}",
            family,
            {
                "target": {"os": "macOS13"},
                "resolution": "512x512",
                "components": [*TEXT_ENCODERS[family], "unet", "vae_decoder", "vae_encoder"],
                "variants": [{"name": attention, "attention": attention} for attention in VARIANTS],
            },
        )
        bench.fresh()
        for name in (*TEXT_ENCODERS[family], "unet", "vae_decoder"):
            bench.build(recipe, f"download:{name}")
        for task in (
            *TEXT_ENCODERS[family],
            "vae_decoder",
            "vae_encoder",
            *(f"unet@{attention}" for attention in VARIANTS),
        ):
            traced, converted = bench.build(recipe, f"trace:{task}"), bench.build(recipe, f"convert:{task}")
            both = Run(traced.seconds + converted.seconds, max(traced.peak, converted.peak), "")
            yield f"{family} {task}: trace + convert", both.row()
            if bench.beside and task in MEASURED_PLAINLY.get(family, ()):
                yield plain(bench, family, task, both)
    bench.fresh()


def plain(bench: Bench, family: str, task: str, own: Run) -> tuple[str, str]:
    """What plain coremltools takes for the same, with the one setting that keeps its memory within bounds."""
    component, _, attention = task.partition("@")
    package = bench.folder / "plain.mlpackage"
    command = [*PLAIN, str(bench.folder / family), family, component, attention or "original", str(package)]
    theirs = run(command, {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)})
    shutil.rmtree(package)
    return f"  plain coremltools: {theirs.seconds / own.seconds:.1f} times as long", theirs.row()


def compressed(bench: Bench) -> Rows:
    for model, title, forms in (("sd15", "SD 1.5", list(palettes.FORMS)), ("sdxl", "SDXL", ["6 bits"])):
        package = palettes.package(bench.folder / "palettes", model)
        for form in forms:
            own = palettes.child("ours", package, form)
            yield f"{title} UNet, palettes: {form}", f"{own['seconds']:.1f} s | {own['MiB'] / 1024:.2f} GiB"
            if bench.beside and model == "sd15":
                other = palettes.child("theirs", package, form)
                ratio = f"{other['result'] / own['seconds']:.1f} times as long"
                yield f"  coremltools: {ratio}", f"{other['result']:.1f} s | {other['MiB'] / 1024:.2f} GiB"
        shutil.rmtree(package)


def whole(name: str, family: str, like: str, limit: int | None = None, **changes: Any) -> Callable[[Bench], Rows]:
    """A whole recipe, from source to zip."""

    def measure(bench: Bench) -> Rows:
        bench.fresh()
        recipe = bench.recipe(name, family, changes, like)
        yield f"{like}, source to zip{', ' + name if name != like else ''}", bench.build(recipe, limit=limit).row()
        bench.fresh()

    return measure


def variants(bench: Bench) -> Rows:
    compressions = {"float16": [], **{f"{bits}bit": [{"palettize": {"bits": bits}}] for bits in (8, 6, 4)}}
    common: dict[str, Any] = {"target": {"os": "macOS14"}, "resolution": "512x512"}
    twelve = [
        {"name": f"{attention}-{name}".replace("_", "-"), "attention": attention, "compress": {"unet": steps}}
        for attention in VARIANTS
        for name, steps in compressions.items()
    ]
    one = next(each for each in twelve if each["name"] == "split-einsum-6bit")
    bench.fresh()
    first = bench.build(bench.recipe("one", "sdxl", common | {"variants": [one]}))
    yield "SDXL, one variant (split_einsum, 6 bits)", first.row()
    bench.fresh()
    all_of_them = bench.build(bench.recipe("twelve", "sdxl", common | {"variants": twelve}))
    yield f"SDXL, twelve variants: {all_of_them.seconds / first.seconds:.2f} times one", all_of_them.row()
    bench.fresh()


ROWS: dict[str, Callable[[Bench], Rows]] = {
    "convert": convert,
    "palettes": compressed,
    "sdxl-ios": whole("sdxl-ios", "sdxl", "sdxl-ios"),
    "limit": whole("4 GiB of private memory", "sdxl", "sdxl-ios", 4 * GIB),
    "sd15": whole("chunks and 6 bits", "sd1", "sd15-ios", chunk=True),
    "variants": variants,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--folder", type=Path, help="where models and stores go; models are kept")
    parser.add_argument("--coremltools", action="store_true", help="run coremltools side by side")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sdbuild-bench-") as temporary:
        bench = Bench((given.folder or Path(temporary)).resolve(), given.coremltools)
        bench.folder.mkdir(parents=True, exist_ok=True)
        print(f"| {os.cpu_count()} cores | wall | peak |\n|---|---|---|", flush=True)
        for name in given.rows or ROWS:
            for label, cells in ROWS[name](bench):
                print(f"| {label} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
