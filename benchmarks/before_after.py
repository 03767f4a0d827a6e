"""The same work by an earlier commit and by this one, in turn, several times: ratios of wall time and of peak memory.

    python -m benchmarks.before_after [--before COMMIT] [--times N] [--folder FOLDER] [CASE …]

Each side is a separate checkout that the same Python runs, with a separate store; what a case needs beforehand (models,
downloads, a build to verify) is made outside the measured time. All cases take about three hours on two cores and 40 GB of
disk; models are made in FOLDER (a temporary one by default) and kept there for the next time.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks import models
from benchmarks.measure import GIB, Run, run

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "c50b8fd"
"""The last commit whose graphs were torch's own files, and whose stages all started Python again."""
_PROGRAM = [sys.executable, "-c", "import sys; from sdbuild.engine.cli import main; sys.exit(main())"]
_WOULD_RUN = 10  # status of `plan` where there is something to do
_SIX_BITS = [{"palettize": {"bits": 6}}]


@dataclass(frozen=True)
class Case:
    """Something that people wait for."""

    title: str
    family: str | None
    """Whose full-size model it takes, with random weights; None for the built-in one."""
    recipe: Mapping[str, Any]
    words: Sequence[str] = ("build",)
    """What is measured."""
    first: Sequence[Sequence[str]] = ()
    """What is done before, outside the measured time."""
    fresh: bool = True
    """From a store without what is measured; False: everything is built."""
    at_most: float | None = None
    """The ratio of wall times that it should stay below."""
    seconds: float | None = None
    """The wall time that it should stay below."""
    limit: int | None = None
    """Private memory of every process, in bytes."""
    alone: bool = False
    """The earlier commit can't do it."""
    once: bool = False
    """Too long to be repeated."""


@dataclass
class Side:
    """A checkout."""

    name: str
    code: Path
    folder: Path
    runs: list[Run] = field(default_factory=list)

    def do(self, recipe: Path, words: Sequence[str], limit: int | None = None) -> Run:
        environment = {
            "PYTHONPATH": str(self.code),
            "PYTHONDONTWRITEBYTECODE": "",  # code is compiled once, as it is for users
            "SDBUILD_STORE": str(self.folder / "store"),
        }
        good = (0, _WOULD_RUN) if "plan" in words else (0,)
        return run([*_PROGRAM, *words, f"config={recipe}"], environment, limit, self.folder, good)

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)


def _unet(family: str, attention: str, size: int, at_most: float) -> Case:
    title = f"{family} UNet, {attention}, {size}x{size}: trace and convert"
    recipe = {
        "target": {"os": "macOS13"},
        "resolution": f"{size}x{size}",
        "components": ["unet"],
        "attention": attention,
    }
    return Case(title, family, recipe, ("convert:unet",), (("download:unet",),), at_most=at_most)


_SD15 = {
    "target": {"os": "iOS17"},
    "resolution": "512x512",
    "attention": "split_einsum_v2",
    "compress": {"unet": _SIX_BITS},
}
_TWELVE = [
    {"name": f"{attention}-{name}".replace("_", "-"), "attention": attention, "compress": {"unet": steps}}
    for attention in ("original", "split_einsum", "split_einsum_v2")
    for name, steps in {"full": [], **{f"{bits}bit": [{"palettize": {"bits": bits}}] for bits in (8, 6, 4)}}.items()
]
_FIVE_HUNDRED = [
    {"name": f"v{number}", "compress": {"unet": [{"palettize": {"bits": 4, "min_elements": 2048 + number}}]}}
    for number in range(500)
]
_SHIPPED = {
    name: {
        key: value
        for key, value in yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text()).items()
        if key not in ("schema", "name", "pipeline", "model")
    }
    for name in ("shapes", "sdxl-ios")
}

CASES: dict[str, Case] = {
    "shapes": Case("`shapes`, first build", None, _SHIPPED["shapes"], at_most=1 / 3),
    "no-op": Case("`shapes`, nothing to do", None, _SHIPPED["shapes"], first=(("build",),), fresh=False, seconds=0.25),
    "plan": Case(
        "`plan` of 500 variants",
        None,
        {"target": {"os": "iOS18"}, "resolution": "64x64", "variants": _FIVE_HUNDRED},
        ("plan",),
        seconds=1.5,
    ),
    "sd15": Case("SD 1.5, split_einsum_v2, 6 bits, zip", "sd1", _SD15 | {"bundle": {"zip": True}}, at_most=1 / 3),
    "sdxl-ios": Case("`sdxl-ios`", "sdxl", _SHIPPED["sdxl-ios"], at_most=0.4),
    "variants": Case(
        "SDXL, twelve variants",
        "sdxl",
        {"target": {"os": "macOS14"}, "resolution": "512x512", "variants": _TWELVE},
        at_most=0.4,
    ),
    "unet-sd15": _unet("sd1", "original", 512, 1 / 2.5),
    "unet-sd15-v2": _unet("sd1", "split_einsum_v2", 512, 1 / 3.5),
    "unet-sdxl-v2": _unet("sdxl", "split_einsum_v2", 768, 1 / 3),
    "verify-sd15": Case(
        "`verify` of SD 1.5: three components and the image", "sd1", _SD15, ("verify",), (("build",),), at_most=0.5
    ),
    "verify-sdxl": Case(
        "`verify` of `sdxl-ios`, no process with more than 4 GiB of its own",
        "sdxl",
        _SHIPPED["sdxl-ios"],
        ("verify",),
        (("build",),),
        seconds=40 * 60,
        limit=4 * GIB,
        alone=True,
        once=True,
    ),
}


def measure(name: str, case: Case, sides: Sequence[Side], folder: Path, times: int) -> str:
    """A row of the table."""
    source = "builtin:shapes" if case.family is None else str(models.make(case.family, folder / "models" / case.family))
    written = {"schema": 1, "name": name, "pipeline": case.family or "sd1", "model": {"source": source}, **case.recipe}
    sides = [side for side in sides if not (case.alone and side.name == "before")]
    recipe = folder / f"{name}.yaml"
    recipe.write_text(yaml.safe_dump(written, sort_keys=False))
    for side in sides:
        side.runs = []
        side.forget()
    for number in range(1 if case.once else times):
        for side in sides:
            if case.fresh or number == 0:
                side.forget()
                for words in case.first:
                    side.do(recipe, words)
            os.sync()  # what was just written is not to be waited for in what is measured
            side.runs.append(side.do(recipe, case.words, case.limit))
            if case.fresh:
                side.forget()  # twelve variants of SDXL take 35 GB
    for side in sides:
        side.forget()
    return _row(case, {side.name: side.runs for side in sides})


def _row(case: Case, runs: Mapping[str, Sequence[Run]]) -> str:
    seconds = {name: statistics.median(each.seconds for each in found) for name, found in runs.items()}
    peaks = {name: max(each.peak for each in found) for name, found in runs.items()}
    cells = [
        f"{seconds[name]:.{1 if seconds[name] >= 10 else 2}f} s, {peaks[name] / GIB:.2f} GiB" if name in runs else "–"
        for name in ("before", "after")
    ]
    ratios = ["–", "–"]
    if "before" in runs:
        ratios = [f"{seconds['after'] / seconds['before']:.2f}", f"{peaks['after'] / peaks['before']:.2f}"]
    wanted = f"{case.at_most:.2f}" if case.at_most else f"{case.seconds:g} s"
    return f"| {case.title} | {' | '.join([*cells, *ratios, wanted])} |"


def checkout(commit: str, folder: Path) -> Path:
    """The files of a commit."""
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--before", default=BEFORE, help=f"the commit to compare with; {BEFORE} by default")
    parser.add_argument("--times", type=int, default=3, help="how often each side has its turn; 3 by default")
    parser.add_argument("--folder", type=Path, help="where models, stores and results go; models are kept")
    given = parser.parse_args()
    if unknown := sorted({*given.cases} - {*CASES}):
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    with tempfile.TemporaryDirectory(prefix="sdbuild-bench-") as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        code = checkout(given.before, Path(temporary) / "code")
        sides = [Side("before", code, folder / "before"), Side("after", ROOT, folder / "after")]
        print(
            f"| {os.cpu_count()} cores | {given.before} | now | time | peak | wanted |\n|---|---|---|---|---|---|",
            flush=True,
        )
        for name in given.cases or CASES:
            print(measure(name, CASES[name], sides, folder, given.times), flush=True)


if __name__ == "__main__":
    main()
