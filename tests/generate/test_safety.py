"""A bundle with a safety checker withholds what that finds unsafe, and nothing else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import cosine_distance
from PIL import Image

from sdbuild.errors import UserError
from sdbuild.generate import Pipeline
from sdbuild.generate.command import BundleAt, run
from sdbuild.generate.options import Options
from tests.architectures import CHECKER, make
from tests.generate.bundles import with_checker

PROMPT, SEEDS = "a large red circle on a blue background", (93, 94)
FEW = {"steps": "2", "guidance": "2"}


def seen(pixels: np.ndarray[Any, Any]) -> torch.Tensor:
    """What the Swift package makes of an image for its safety checker."""
    side = CHECKER["vision_config"]["image_size"]
    image = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)) / 255
    return torch.tensor((image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).float().permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def judge(whole: Path) -> Any:
    """diffusers' own checker, its thresholds between the images of the two seeds."""
    model: Any = make("safety_checker", CHECKER)
    images = Pipeline.open(whole).generate_all([PROMPT], SEEDS, Options(steps=2, guidance=2))
    with torch.no_grad():
        vectors = [model.visual_projection(model.vision_model(seen(p.pixels))[1]) for p in images]
        first, second = (cosine_distance(vector, model.concept_embeds)[0] for vector in vectors)
        model.special_care_embeds_weights.fill_(1)
        model.concept_embeds_weights.fill_(1)
        concept = int((second - first).argmax())  # the one that tells them apart best
        model.concept_embeds_weights[concept] = (first + second)[concept] / 2
        assert (second - first)[concept] > 0.01
    return model


@pytest.fixture(scope="module")
def checked(whole: Path, judge: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_checker(tmp_path_factory.mktemp("checked"), whole, judge.state_dict().__getitem__)


def test_images_are_withheld_as_the_library_judges_them(whole: Path, checked: Path, judge: Any) -> None:
    options = Options(steps=2, guidance=2)
    plain, images = (Pipeline.open(path).generate_all([PROMPT], SEEDS, options) for path in (whole, checked))
    verdicts = [judge(seen(image.pixels), torch.zeros(1, 8, 8, 3))[1][0] for image in plain]
    assert [image.withheld for image in images] == verdicts == [False, True]
    assert [image.withheld for image in plain] == [False, False]
    np.testing.assert_array_equal(images[0].pixels, plain[0].pixels)
    assert plain[1].pixels.any()
    assert not images[1].pixels.any()


def test_a_checker_that_looks_at_nothing(checked: Path, tmp_path: Path) -> None:
    manifest = json.loads((checked / "manifest.json").read_text())
    manifest["networks"][-1]["inputs"] = {}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "Resources").symlink_to(checked / "Resources")
    with pytest.raises(UserError, match=r"^SafetyChecker: takes no view$"):
        Pipeline.open(tmp_path).generate(PROMPT, steps=1)


def test_a_withheld_image_does_not_save(checked: Path, tmp_path: Path) -> None:
    image = Pipeline.open(checked).generate(PROMPT, seed=SEEDS[1], steps=2, guidance=2)
    with pytest.raises(UserError, match=r"no\.png: withheld: the bundle's safety checker"):
        image.save(tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()


def test_the_command_names_what_it_withholds(checked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = run(
        [BundleAt("shapes", checked)], {"prompt": PROMPT, "count": "2", "out": str(tmp_path), **FEW}, tmp_path
    ).written
    stem = "a-large-red-circle-on-a-blue-background"
    assert [path.name for path in written] == [f"{stem}-93.png"]
    told = capsys.readouterr().err
    assert f"note: shapes: {stem}-94.png is withheld, as in the app: the bundle's safety checker found that" in told
    with pytest.raises(UserError, match=r"^nothing to show: the bundle's safety checker"):
        run([BundleAt("shapes", checked)], {"prompt": PROMPT, "seed": "94", "out": str(tmp_path), **FEW}, tmp_path)
    assert [path.name for path in tmp_path.rglob("*.png")] == [f"{stem}-93.png"]
