"""Models of few steps through every stage: images are those of diffusers' own pipelines; and docs/few-steps.md."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import CLIPTokenizer

from sdbuild.errors import UserError
from sdbuild.generate import Pipeline
from sdbuild.plan import plan
from sdbuild.recipe import load_recipe
from tests.execute import execute
from tests.matrix.models import SD1, SHAPES, Model, library, save
from tests.test_end_to_end import environment

PARTS = {folder: part for folder, part in SD1.parts.items() if folder != "safety_checker"}
PLAIN = replace(SD1, parts=PARTS)
GUIDED = replace(
    SD1,
    pipeline="LatentConsistencyModelPipeline",
    parts=PARTS | {"unet": ("unet", PARTS["unet"][1] | {"time_cond_proj_dim": 33})},
    scheduler={**SD1.scheduler, "_class_name": "LCMScheduler"},
)
"""Of a width that is padded."""
TRAILING = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
PROMPT = "a large red circle"


def built(folder: Path, source: Model, **said: Any) -> Path:
    """A bundle of a model, whose components and image are verified."""
    torch.set_num_threads(1)
    save(source, folder / "model")
    recipe = {
        "name": "few",
        "pipeline": "sd1",
        "target": {"os": "macOS14"},
        "resolution": "64x64",
        "verify": {"min_psnr": dict.fromkeys(["text_encoder", "unet", "vae_decoder", "image"], 55)},
        **said,
        "model": {"source": "./model", **said["model"]},
    }
    (folder / "few.yaml").write_text(yaml.safe_dump(recipe))
    graph = plan(load_recipe(folder / "few.yaml").recipes)
    return execute(graph, folder / "artifacts")[graph.builds[0].result]


@pytest.fixture(scope="module")
def turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As SD-Turbo is built."""
    generate = {"steps": 2, "guidance": 0}
    return built(tmp_path_factory.mktemp("turbo"), PLAIN, model={"scheduler": TRAILING}, batch=1, generate=generate)


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a latent consistency model is built."""
    folder = tmp_path_factory.mktemp("guided")
    return built(folder, GUIDED, model={"guidance_embedding": 8.0}, generate={"steps": 3})


def theirs(model: Model, scheduler: str, **changes: Any) -> Any:
    """diffusers' own pipeline of the library's own modules."""
    parts: dict[str, Any] = {name: part for name, part in library(model).items() if name != "safety_checker"}
    tokenizer = CLIPTokenizer.from_pretrained(str(SHAPES / "tokenizer"), local_files_only=True)
    numbers = {**model.scheduler, **changes}
    made = getattr(diffusers, scheduler).from_config(numbers)
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = getattr(diffusers, model.pipeline)(**parts, tokenizer=tokenizer, scheduler=made, **none)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def compare(bundle: Path, chosen: dict[str, Any], pipeline: Any, steps: int, guidance: float, **more: Any) -> None:
    """A bundle's image with that of a pipeline, in so many steps and with so much guidance, from torch's noise."""
    generator = torch.Generator().manual_seed(5)
    size = {"height": 64, "width": 64, "output_type": "np", "generator": generator}
    wanted = pipeline(PROMPT, num_inference_steps=steps, guidance_scale=guidance, **size, **more).images[0]
    pixels = Pipeline.open(bundle).generate(PROMPT, seed=5, rng="torch", **chosen).pixels
    assert pixels.std() > 5
    noise = np.sqrt(np.mean((wanted - pixels / 255) ** 2))
    assert -20 * np.log10(noise) > 55  # 59 are what rounding to 8 bits leaves


@pytest.mark.parametrize("steps", [1, 2])
def test_turbo(turbo: Path, steps: int) -> None:
    """With trailing spacing, without guidance; two steps are the bundle's own."""
    chosen: dict[str, Any] = {} if steps == 2 else {"steps": steps}
    compare(turbo, chosen, theirs(PLAIN, "EulerDiscreteScheduler", timestep_spacing="trailing"), steps, 0)


@pytest.mark.parametrize(
    ("name", "scheduler", "more"), [("lcm", "LCMScheduler", {}), ("tcd", "TCDScheduler", {"eta": 0.3})]
)
def test_what_a_distilled_lora_wants(turbo: Path, name: str, scheduler: str, more: dict[str, float]) -> None:
    """The noise that is added in each step is torch's on both sides; of TCD as much as its scheduler adds by itself, where
    diffusers' pipelines tell it to add none unless they are told how much.
    """
    pipeline = theirs(PLAIN, scheduler, timestep_spacing="trailing")
    compare(turbo, {"steps": 4, "scheduler": name}, pipeline, 4, 1, **more)


def test_guidance_that_is_built_in(guided: Path) -> None:
    compare(guided, {}, theirs(GUIDED, "LCMScheduler"), 3, 8.0)
    manifest = json.loads((guided / "manifest.json").read_text())
    assert manifest["denoiser"] == {
        "attention": "original",
        "batch": 1,
        "chunked": False,
        "guidance_embedding": 8.0,
    }
    assert manifest["defaults"] == {"guidance": 0.0, "steps": 3}
    assert manifest["notes"][0].startswith("images come out wrong with the Swift package's schedulers")
    verified = json.loads((guided / "verify.json").read_text())["image"]
    assert (verified["guidance"], verified["steps"]) == (1, 3)


def test_it_takes_no_other(guided: Path) -> None:
    with pytest.raises(
        UserError, match=r"^guidance=2: guidance of 8 is built into this bundle's UNet, which takes no other"
    ):
        Pipeline.open(guided).generate(PROMPT, guidance=2)


def test_what_a_bundle_without_guidance_says(turbo: Path) -> None:
    manifest = json.loads((turbo / "manifest.json").read_text())
    assert manifest["defaults"] == {"guidance": 0.0, "steps": 2}
    assert manifest["scheduler"].items() >= TRAILING.items()
    (note,) = manifest["notes"]
    assert note.startswith("timestep_spacing is trailing: of the Swift package's schedulers take DPM-Solver++")


DOCUMENT = (Path(__file__).parents[1] / "docs/few-steps.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_recipes_of_the_document_are_valid(tmp_path: Path) -> None:
    for number, block in enumerate(blocks("yaml")):
        whole = block if "name:" in block else f"name: x\npipeline: sd1\ntarget: {{os: macOS14}}\n{block}"
        path = tmp_path / f"{number}.yaml"
        path.write_text(whole)
        assert load_recipe(path).recipes


@pytest.mark.slow
def test_commands_of_the_document(tmp_path: Path) -> None:
    (recipe,) = (block for block in blocks("yaml") if "name: few-steps" in block)
    (tmp_path / "few-steps.yaml").write_text(recipe)
    environ = environment(tmp_path / "store")
    (commands,) = blocks("sh")
    for line in commands.splitlines():
        words = [sys.executable, "-m", "sdbuild", *shlex.split(line)[1:]]
        done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "build/few-steps/manifest.json").read_text())
    assert manifest["defaults"] == {"guidance": 0.0, "steps": 4}
    assert manifest["scheduler"].items() >= TRAILING.items()
    (image,) = (tmp_path / "build/images/few-steps").glob("*.png")  # the last command's: both have one name
    said = Image.open(image).text
    assert (said["steps"], said["guidance"], said["scheduler"]) == ("20", "2", "ddim")
