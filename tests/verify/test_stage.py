"""The stage: from artifacts to verify.json and verify.txt."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sdbuild.errors import UserError
from sdbuild.modeling.checkpoint import read_config
from sdbuild.stages import Job
from sdbuild.stages.verify import run
from sdbuild.verify import Drawing, Subject
from tests.verify.built import SHAPES, finished

MODELS = {"text_encoder": ["TextEncoder"], "unet": ["UnetChunk1", "UnetChunk2"], "vae_decoder": ["VAEDecoder"]}


@pytest.fixture(scope="module")
def recipe(subjects: dict[str, Subject], tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    """What a recipe with 4-bit palettes and chunks for the UNet builds."""
    unet = finished(tmp_path_factory.mktemp("stage"), subjects["unet"], bits=4, chunked=True)
    return [subjects["text_encoder"], unet, subjects["vae_decoder"]]


def job(path: Path, subjects: list[Subject], news: list[tuple[int, int, str]], **changes: Any) -> Job:
    """As the plan writes it: packages by their folders, compiled models by their names."""
    (path / "output").mkdir(parents=True)
    inputs = {"scheduler": SHAPES / "scheduler" / "scheduler_config.json"}
    for subject in subjects:
        inputs |= {f"config:{subject.name}": subject.config, f"weights:{subject.name}": subject.weights}
        if subject.tokenizer:
            inputs[f"tokenizer:{subject.name}"] = subject.tokenizer
        for stage, paths in subject.stages.items():
            if stage == "compile":
                inputs |= {f"compile:{name}": model for name, model in zip(MODELS[subject.name], paths, strict=True)}
            else:
                inputs[f"{stage}:{subject.name}"] = _folder(path / stage / subject.name, paths)
    parameters: dict[str, Any] = {
        "components": [
            {
                "name": subject.name,
                "kind": subject.kind,
                "inputs": list(subject.inputs),
                "outputs": list(subject.outputs),
                "models": MODELS[subject.name],
            }
            for subject in subjects
        ],
        "height": 64,
        "width": 64,
        "batch": 2,
        "tokens": 77,
        "latent_channels": 4,
        "vae_factor": 8,
        "vae_scale": read_config(SHAPES / "vae" / "config.json")["scaling_factor"],
        "precision": "float32",
        "steps": 3,
        "image": True,
        "min_psnr": {"text_encoder": 60, "unet": 20, "vae_decoder": 60, "image": 10},
        "min_converted_psnr": 60,
    }
    return Job(parameters | changes, inputs, path / "output", path / "scratch", lambda *each: news.append(each))


def _folder(path: Path, packages: Any) -> Path:
    """An artifact with these packages in it."""
    path.mkdir(parents=True)
    for package in packages:
        (path / package.name).symlink_to(package, target_is_directory=True)
    return path


def test_the_report_is_written_twice(recipe: list[Subject], tmp_path: Path) -> None:
    news: list[tuple[int, int, str]] = []
    run(job(tmp_path, recipe, news))
    report = json.loads((tmp_path / "output" / "verify.json").read_text())
    assert list(report["components"]) == sorted(MODELS)
    assert [stage["stage"] for stage in report["components"]["unet"]["stages"]] == [
        "convert",
        "compress",
        "chunk",
        "compile",
    ]
    assert report["components"]["vae_decoder"]["stages"][-1]["psnr"] >= 60
    assert report["image"]["steps"] == 3
    assert 10 < report["image"]["psnr"] < 60
    table = (tmp_path / "output" / "verify.txt").read_text()
    assert f"{report['components']['unet']['stages'][1]['psnr']:.2f} dB" in table
    assert news[-1][0] == news[-1][1]
    assert {unit for _, _, unit in news} == {"runs"}
    assert {path.name for path in (tmp_path / "output").iterdir()} == {"verify.json", "verify.txt"}


def test_falling_short_fails_and_leaves_nothing(recipe: list[Subject], tmp_path: Path) -> None:
    wanted = {"text_encoder": 60, "unet": 90, "vae_decoder": 60}
    with pytest.raises(UserError, match=r"^unet: [\d.]+ dB against PyTorch, 90 dB wanted; lost in compress"):
        run(job(tmp_path, recipe, [], min_psnr=wanted, image=False))
    assert not list((tmp_path / "output").iterdir())


def test_only_what_is_built_is_verified(recipe: list[Subject], tmp_path: Path) -> None:
    run(job(tmp_path, recipe[1:2], [], min_psnr={"unet": 20}))
    report = json.loads((tmp_path / "output" / "verify.json").read_text())
    assert list(report["components"]) == ["unet"]
    assert report["image"] is None


def test_the_drawing_heeds_marks_among_the_weights(
    recipe: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(recipe[1].weights, weights)
    save_file({"v_pred": np.zeros(0, np.float32)}, weights / "mark.safetensors")
    given: list[Drawing] = []

    def verify(_subjects: list[Subject], drawing: Drawing, **_settings: Any) -> None:
        given.append(drawing)
        raise UserError("seen")

    monkeypatch.setattr("sdbuild.stages.verify.verify", verify)
    with pytest.raises(UserError, match="seen"):
        run(job(tmp_path / "job", [replace(recipe[1], weights=weights)], []))
    assert given[0].scheduler["prediction_type"] == "v_prediction"
