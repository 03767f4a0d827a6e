"""What is said of a task without a past: the nearest that others have made, if anything is near."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sdbuild.engine.cli import run
from sdbuild.engine.request import graph_of, load
from sdbuild.errors import Status
from sdbuild.store import Records, artifacts, open_store
from sdbuild.store.stamp import read_stamp
from tests.engine.fakes import pretend_to_build
from tests.engine.test_commands import RECIPE

SDBUILD = Callable[[str], str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose recipe mine.yaml was built, by somebody whose records are not there."""
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    pretend_to_build(graph_of(load({"config": "mine"}, tmp_path)), open_store(), tmp_path)
    for record in (tmp_path / "store" / "builds").iterdir():
        record.unlink()
    return tmp_path


@pytest.fixture
def sdbuild(here: Path, capsys: pytest.CaptureFixture[str]) -> SDBUILD:
    def command(line: str) -> str:
        assert run(line.split(), here) in (0, Status.WOULD_RUN)
        told = capsys.readouterr()
        assert told.err == ""
        return told.out

    return command


TALLER = "image.height 512 → 768; the shape of input 1 [2,4,64,64] → [2,4,96,64]"


def write(here: Path, old: str, new: str, name: str = "other") -> None:
    assert old in RECIPE
    (here / f"{name}.yaml").write_text(RECIPE.replace(old, new))


def test_the_setting_in_which_another_recipe_differs_is_named(sdbuild: SDBUILD, here: Path) -> None:
    write(here, "bits: 6", "bits: 4")
    expected = "first build; differs from mine.yaml: compress:unet by steps[0].palettize.bits 6 → 4"
    assert sdbuild("why config=other task=compress:unet") == f"compress:unet: would run: {expected}\n"
    assert expected in sdbuild("plan config=other")


def test_a_recipe_whose_record_is_missing(sdbuild: SDBUILD, here: Path) -> None:
    write(here, "512x512", "512x768", "mine")
    told = sdbuild("why config=mine task=trace:unet")
    assert told == f"trace:unet: would run: first build; differs from mine.yaml: trace:unet by {TALLER}\n"


def test_a_recipe_whose_last_artifacts_are_gone(sdbuild: SDBUILD, here: Path) -> None:
    write(here, "512x512", "512x768")
    pretend_to_build(graph_of(load({"config": "other"}, here)), open_store(), here)
    write(here, "512x512", "512x640")
    for stamp in (here / "store/artifacts/trace").glob("*.json"):
        if json.loads(stamp.read_text())["ingredients"]["parameters"].get("image", {}).get("height") == 768:
            stamp.unlink()
    told = sdbuild("why config=other task=trace:unet")
    assert told == (
        "trace:unet: would run: what it was last built from is no longer in the store; differs from mine.yaml: trace:unet by "
        "image.height 512 → 640; the shape of input 1 [2,4,64,64] → [2,4,80,64]\n"
    )


def test_what_is_far_from_everything_is_a_first_build(sdbuild: SDBUILD, here: Path) -> None:
    write(here, RECIPE, RECIPE.replace("sd1", "sdxl").replace("512x512", "1024x1024"))
    assert "config: would run: first build\n" in sdbuild("why config=other task=config")


def test_of_several_the_nearest_is_named(sdbuild: SDBUILD, here: Path) -> None:
    write(here, "512x512", "768x768", "square")
    pretend_to_build(graph_of(load({"config": "square"}, here)), open_store(), here)
    write(here, "512x512", "768x704")
    shapes = "the shape of input 1 [2,4,96,96] → [2,4,88,96]"
    assert f"differs from square.yaml: trace:unet by image.height 768 → 704; {shapes}\n" in sdbuild(
        "why config=other task=trace:unet"
    )


def test_what_no_build_has_finished_is_no_first_build(sdbuild: SDBUILD, here: Path) -> None:
    write(here, RECIPE, f"{RECIPE}verify: {{min_psnr: 90}}\n", "mine")
    graph = graph_of(load({"config": "mine"}, here))
    pretend_to_build(graph, open_store(), here)
    record = Records(open_store().root).read(here / "mine.yaml")
    entry = record.entry("", "verify")
    assert entry is not None
    (here / f"store/artifacts/verify/{entry.key}.json").unlink()
    without = {task: each for task, each in record.builds[""].items() if task != "verify"}
    Records(open_store().root).update(here / "mine.yaml", lambda _: replace(record, builds={"": without}))
    assert sdbuild("why verify mine") == "verify: would run: no build of this recipe has finished it yet\n"


def test_stamps_of_other_content_are_ignored(sdbuild: SDBUILD, here: Path) -> None:
    write(here, "512x512", "512x768")
    stamps = here / "store/artifacts/trace"
    whole = {stamp: json.loads(stamp.read_text()) for stamp in stamps.glob("*.json")}
    for stamp, data in whole.items():
        for number, change in enumerate(
            [
                {"ingredients": 5},
                {"ingredients": {}},
                {"ingredients": data["ingredients"] | {"inputs": [{}]}},
                {"ingredients": data["ingredients"] | {"tools": []}},
                {"made_for": 5},
                {"made_for": f"{here}/mine.yaml: \x1b[2J"},
                {"format": 99},
            ]
        ):
            stamp.with_stem(f"{stamp.stem[:-2]}{number:02}").write_text(json.dumps(data | change))
    (stamps / "deep.json").write_text("[" * 100_000)
    (stamps / "folder.json").mkdir()
    os.mkfifo(stamps / "pipe.json")
    told = sdbuild("why config=other task=trace:unet")
    assert told == f"trace:unet: would run: first build; differs from mine.yaml: trace:unet by {TALLER}\n"
    for stamp, data in whole.items():  # escape sequences of a stranger's store reach no terminal
        data["ingredients"]["parameters"]["\x1b[2J"] = 1
        stamp.write_text(json.dumps(data))
    told = sdbuild("why config=other task=trace:unet")
    assert "\x1b" not in told and told.count("\n") == 1


def test_a_large_store_is_looked_at_in_part(sdbuild: SDBUILD, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = here / "store/artifacts/trace"
    (found,) = (path for path in stamps.glob("*.json") if "mine.yaml: trace:unet" in path.read_text())
    text = found.read_text()
    for number in range(1500):
        copy = stamps / f"{number:064}.json"
        copy.write_text(text.replace("mine.yaml", "old.yaml"))
        os.utime(copy, (number, number))
    read = []
    monkeypatch.setattr(artifacts, "read_stamp", lambda path: read.append(path) or read_stamp(path))
    write(here, "512x512", "512x768")
    assert "differs from mine.yaml: trace:unet by" in sdbuild("why config=other")
    assert len([path for path in read if path.parent == stamps and path.name.startswith("0" * 40)]) in range(990, 1001)
