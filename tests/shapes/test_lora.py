"""The LoRA that comes with the model, built by the command line at several weights: what the bundles' images show."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sdbuild.errors import Status
from sdbuild.generate.options import Options
from sdbuild.generate.pipeline import Pipeline
from sdbuild.shapes.scenes import Floats, Scene, held_out_scenes
from sdbuild.shapes.score import tally
from sdbuild.shapes.train_lora import at_night, subjects
from tests.test_end_to_end import command, environment, ran, take_store

DOCS = Path(__file__).parents[2] / "docs" / "loras.md"
COUNT = 4

VARIANTS = """\
name: weights
pipeline: sd1
model: {source: "builtin:shapes", loras: ["builtin:shapes/night"]}
target: {os: iOS17, compute_units: cpuAndGPU}
resolution: 64x64
attention: original
variants:
  - {name: none, model: {loras: [{source: "builtin:shapes/night", weight: 0}]}}
  - {name: half, model: {loras: [{source: "builtin:shapes/night", weight: 0.5}]}}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands of the how-to made, and the other weights."""
    folder = tmp_path_factory.mktemp("night")
    take_store(folder)
    (block,) = re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "sdbuild"
        output(folder, *arguments)
    (folder / "weights.yaml").write_text(VARIANTS)
    done = ran(output(folder, "build", "weights.yaml"))
    assert not {task for task in done if task.startswith(("trace", "download", "lora"))}
    assert "convert:unet@half" in done
    assert not {
        task for task in done if task.startswith("convert") and task.endswith("@none")
    }  # as shapes itself has it
    return folder


def output(folder: Path, *arguments: str) -> str:
    """What a command prints; `plan` ends with a status of its own where something would run."""
    environ = environment(folder / "store")
    found = subprocess.run(
        command(folder, *arguments), cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert found.returncode in (0, Status.WOULD_RUN), found.stdout + found.stderr
    return found.stdout


def images(bundle: Path, scenes: list[Scene]) -> Floats:
    """What a bundle makes of captions."""
    made = Pipeline.open(bundle).generate_all(
        [scene.caption() for scene in scenes], [3], Options(guidance=2.0, steps=10)
    )
    return np.stack([each.pixels.astype(np.float32) / 255 for each in made])


def test_the_more_it_counts_the_darker_is_the_background(built: Path) -> None:
    scenes = subjects(held_out_scenes())[:COUNT]
    night = [at_night(scene) for scene in scenes]
    none, half, whole = (
        images(built / "build" / name, scenes) for name in ("weights/none", "weights/half", "shapes-night")
    )
    assert tally(none, scenes)["all"] == 1 and tally(none, night)["background"] == 0
    assert tally(whole, night)["all"] == 1
    bright, dim, dark = (float(each[:, :2].mean()) for each in (none, half, whole))  # of the upper edge
    assert bright > dim > dark and dark < 0.15


def test_a_weight_of_0_is_the_model_itself(built: Path) -> None:
    assert output(built, "why", "convert:unet", "shapes").startswith("convert:unet: up to date")


def test_why_names_the_lora_and_the_weight(built: Path) -> None:
    (built / "weights.yaml").write_text(VARIANTS.replace("weight: 0.5", "weight: 0.75"))
    why = output(built, "why", "weights.yaml")
    assert "overlays.loras.night.settings.weight" in why and "0.5 → 0.75" in why
