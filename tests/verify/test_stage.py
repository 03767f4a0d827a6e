"""The stages: from artifacts to verify.json and verify.txt."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sdbuild.errors import UserError
from sdbuild.job import Found
from sdbuild.jobs.measure import Measure, Written
from sdbuild.jobs.originals import Original, Originals
from sdbuild.jobs.verify import Built, Verify
from sdbuild.modeling.checkpoint import read_config
from sdbuild.verify.generation import Generation
from sdbuild.verify.pipeline import Subject
from sdbuild.wiring import Sizes
from tests.execute import run
from tests.verify.built import SHAPES, finished
from tests.verify.built import verify as in_one_process

COMPONENTS = ["text_encoder", "unet", "vae_decoder"]


@pytest.fixture(scope="module")
def recipe(subjects: dict[str, Subject], tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    """What a recipe with 4-bit palettes and chunks for the UNet builds."""
    unet = finished(tmp_path_factory.mktemp("stage"), subjects["unet"], bits=4, chunked=True)
    return [subjects["text_encoder"], unet, subjects["vae_decoder"]]


class Stages:
    """Runs the stages as the plan puts them together: packages by their folders, compiled models by their names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.news: list[tuple[int, int, str]] = []

    def originals(self, subjects: list[Subject]) -> Path:
        components = []
        for subject in subjects:
            assert subject.weights is not None
            given = {
                "config": Found(subject.config),
                "weights": Found(subject.weights),
                "tokenizer": _tokenizer(subject),
            }
            about = {"name": subject.name, "kind": subject.kind, "options": subject.options, "part": subject.part}
            components.append(Original(**about, **_ports(subject), **given))
        scheduler = Found(SHAPES / "scheduler" / "scheduler_config.json")
        return self._run(
            "originals",
            Originals(
                components=tuple(components),
                sizes=SIZES,
                steps=STEPS,
                scheduler_overrides={"steps_offset": 1},
                scheduler=scheduler,
            ),
        )

    def measure(self, subject: Subject, originals: Path) -> Path:
        packages = tuple(
            Written(stage=stage, package=Found(_folder(self.path / "packages" / stage / subject.name, paths)))
            for stage, paths in subject.stages.items()
            if stage != "compile"
        )
        about = {"name": subject.name, **_ports(subject), "compiled": _compiled(subject)}
        job = Measure(**about, packages=packages, cases=Found(originals / subject.name), precision="float32")
        return self._run(f"measure-{subject.name}", job)

    def verify(self, subjects: list[Subject], originals: Path, measured: dict[str, Path], **changes: Any) -> Path:
        components = tuple(
            Built(
                name=subject.name,
                part=subject.part,
                **_ports(subject),
                config=Found(subject.config),
                compiled=_compiled(subject),
                measured=Found(measured[subject.name] / "measured.json"),
            )
            for subject in subjects
        )
        job = Verify(
            components=components,
            originals=Found(originals),
            sizes=SIZES,
            steps=STEPS,
            scheduler_overrides={"steps_offset": 1},
            precision="float32",
            image=True,
            min_psnr={"text_encoder": 60, "unet": 20, "vae_decoder": 60, "image": 10},
            min_converted_psnr=60,
        )
        return self._run("verify", replace(job, **changes))

    def _run(self, name: str, job: object) -> Path:
        shutil.rmtree(self.path / name, ignore_errors=True)
        self.news = []
        output = run(job, self.path / name, lambda *each: self.news.append(each))
        if self.news:
            assert [done for done, _, _ in self.news] == list(range(1, self.news[-1][1] + 1))
            assert {unit for _, _, unit in self.news} == {"runs"}
        return output


STEPS = 3
SIZES = Sizes(
    height=64,
    width=64,
    batch=2,
    tokens=77,
    latent_channels=4,
    vae_factor=8,
    vae_scale=read_config(SHAPES / "vae" / "config.json")["scaling_factor"],
)


def _ports(subject: Subject) -> dict[str, Any]:
    return {"inputs": tuple(subject.inputs), "outputs": tuple(subject.outputs)}


def _tokenizer(subject: Subject) -> Found | None:
    return Found(subject.tokenizer) if subject.tokenizer is not None else None


def _compiled(subject: Subject) -> tuple[Found, ...]:
    return tuple(map(Found, subject.stages["compile"]))


def _folder(path: Path, packages: Any) -> Path:
    """An artifact with these packages in it."""
    path.mkdir(parents=True)
    for package in packages:
        (path / package.name).symlink_to(package, target_is_directory=True)
    return path


@dataclass
class Done:
    """What the stages made of a whole recipe."""

    stages: Stages
    originals: Path
    measured: dict[str, Path]


@pytest.fixture(scope="module")
def done(recipe: list[Subject], tmp_path_factory: pytest.TempPathFactory) -> Done:
    stages = Stages(tmp_path_factory.mktemp("stages"))
    originals = stages.originals(recipe)
    return Done(stages, originals, {subject.name: stages.measure(subject, originals) for subject in recipe})


def test_the_report_is_written_twice(recipe: list[Subject], done: Done) -> None:
    output = done.stages.verify(recipe, done.originals, done.measured)
    report = json.loads((output / "verify.json").read_text())
    assert list(report["components"]) == COMPONENTS
    assert [stage["stage"] for stage in report["components"]["unet"]["stages"]] == [
        "convert",
        "compress",
        "chunk",
        "compile",
    ]
    assert report["components"]["vae_decoder"]["stages"][-1]["psnr"] >= 60
    assert report["image"]["steps"] == 3
    assert 10 < report["image"]["psnr"] < 60
    table = (output / "verify.txt").read_text()
    assert f"{report['components']['unet']['stages'][1]['psnr']:.2f} dB" in table
    assert {path.name for path in output.iterdir()} == {"verify.json", "verify.txt"}


def test_files_between_the_stages_change_no_number(recipe: list[Subject], done: Done) -> None:
    """The report is that of one process, to the last digit, as it always was."""
    output = done.stages.verify(recipe, done.originals, done.measured)
    facts = Generation(SIZES, read_config(SHAPES / "scheduler" / "scheduler_config.json"), steps=STEPS)
    whole = in_one_process(recipe, facts, min_psnr={"text_encoder": 60, "unet": 20, "vae_decoder": 60, "image": 10})
    assert (output / "verify.json").read_text() == whole.json()
    assert (output / "verify.txt").read_text() == whole.table()


def test_falling_short_fails_and_leaves_nothing(recipe: list[Subject], done: Done) -> None:
    wanted = {"text_encoder": 60, "unet": 90, "vae_decoder": 60}
    with pytest.raises(UserError, match=r"^unet: [\d.]+ dB against PyTorch, 90 dB wanted; lost in compress"):
        done.stages.verify(recipe, done.originals, done.measured, min_psnr=wanted, image=False)
    assert not list((done.stages.path / "verify" / "output").iterdir())


def test_only_what_is_built_is_verified(recipe: list[Subject], tmp_path: Path) -> None:
    stages, unet = Stages(tmp_path), recipe[1]
    originals = stages.originals([unet])
    measured = {"unet": stages.measure(unet, originals)}
    report = json.loads((stages.verify([unet], originals, measured, min_psnr={"unet": 20}) / "verify.json").read_text())
    assert list(report["components"]) == ["unet"]
    assert report["image"] is None


def test_generating_heeds_marks_among_the_weights(recipe: list[Subject], tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    assert recipe[1].weights is not None
    shutil.copytree(recipe[1].weights, weights)
    save_file({"v_pred": np.zeros(0, np.float32)}, weights / "mark.safetensors")
    originals = Stages(tmp_path / "stages").originals([replace(recipe[1], weights=weights)])
    assert read_config(originals / "scheduler.json")["prediction_type"] == "v_prediction"
