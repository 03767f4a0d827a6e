"""The commands that tell and remove, on real recipes and a store that looks as if they had been built."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sdbuild.engine.cli import run
from sdbuild.engine.request import graph_of, load
from sdbuild.store import open_store
from tests.engine.fakes import pretend_to_build

RECIPE = """\
name: mine
pipeline: sd1
model: {source: org/model, revision: 0123456789012345678901234567890123456789}
target: {os: macOS14}
resolution: 512x512
compress: {unet: [{palettize: {bits: 6}}]}
"""
COMMAND = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user stands: a folder with the recipe mine.yaml, and an empty store beside it."""
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "store"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "mine.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def sdbuild(here: Path, capsys: pytest.CaptureFixture[str]) -> COMMAND:
    """Run a command line: its status, output and errors."""

    def command(line: str) -> tuple[int, str, str]:
        status = run(line.split(), here)
        told = capsys.readouterr()
        return status, told.out, told.err

    return command


def build(here: Path, config: str = "mine") -> list[str]:
    return pretend_to_build(graph_of(load({"config": config}, here)), open_store(), here)


def edit(here: Path, old: str, new: str, name: str = "mine") -> None:
    text = (here / "mine.yaml").read_text()
    assert old in text
    (here / f"{name}.yaml").write_text(text.replace(old, new))


def test_plan_tells_everything_of_a_first_build(sdbuild: COMMAND, here: Path) -> None:
    status, out, err = sdbuild("plan config=mine")
    assert (status, err) == (10, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "mine (mine.yaml): 15 of 15 tasks would run"
    assert "config first build read the model's configuration, tokenizer and list of files" in lines
    assert "compress:unet after convert:unet compress the weights" in lines
    assert "Unet 860 M 6 (palettes) about 645 MB compress:unet" in lines
    assert "TextEncoder 123 M 16 about 246 MB convert:text_encoder" in lines
    assert lines[-1].startswith("disk: about 4.86 GB needed in the store ") and lines[-1].endswith("free")
    assert not (here / "build").exists()


def test_what_only_asks_makes_no_store(sdbuild: COMMAND, here: Path) -> None:
    for line, status in (("plan mine", 10), ("why mine", 0), ("graph trace:unet mine", 1)):
        assert sdbuild(line)[0] == status
    assert sorted(here.parent.iterdir()) == [here]


def test_plan_tells_when_nothing_would_run(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    status, out, _ = sdbuild("plan config=mine")
    assert status == 0
    assert out.startswith("mine (mine.yaml): 0 of 15 tasks would run\n") and "about 0 B needed" in out
    (here / "build/mine/Resources/vocab.json").unlink()
    status, out, _ = sdbuild("plan config=mine")
    assert status == 10 and out.endswith("build/mine would be written anew from the store\n")


def test_plan_and_why_name_the_setting_that_changed(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    edit(here, "bits: 6", "bits: 4")
    out = sdbuild("plan config=mine")[1]
    assert out.startswith("mine (mine.yaml): 3 of 15 tasks would run\n")
    assert "compress:unet  steps[0].palettize.bits 6 → 4" in out
    assert sdbuild("why config=mine task=compress:unet")[1] == (
        "compress:unet: would run: steps[0].palettize.bits 6 → 4\n"
    )
    assert sdbuild("why config=mine task=bundle")[1] == (
        "bundle: would run: after compile:unet\n  compress:unet: steps[0].palettize.bits 6 → 4\n"
    )
    assert build(here) == ["compress:unet", "compile:unet", "bundle"]
    assert "it last ran here because: steps[0].palettize.bits 6 → 4" in sdbuild("why config=mine task=compress:unet")[1]
    assert sdbuild("why config=mine")[1] == "mine: nothing would run; every artifact is there\n"


def test_why_names_the_input_that_changed(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    edit(here, "bits: 6", "bits: 4")
    graph = graph_of(load({"config": "mine"}, here))
    assert "compress:unet" in pretend_to_build(graph, open_store(), here)
    edit(here, "bits: 4", "bits: 6")
    for stamp in (here.parent / "store/artifacts/compile").glob("*.json"):
        stamp.unlink()
    assert sdbuild("why config=mine task=compile:unet")[1].startswith("compile:unet: would run: ")
    edit(here, "512x512", "512x768")
    out = sdbuild("why config=mine task=trace:unet")[1]
    assert out == "trace:unet: would run: image.height 512 → 768; the shape of input 1 [2,4,64,64] → [2,4,96,64]\n"


def test_a_second_recipe_of_the_same_model_downloads_nothing(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    edit(here, "512x512", "768x768", "second")
    out = sdbuild("plan config=second")[1]
    assert "download" not in out.partition("disk:")[0]
    told = sdbuild("why config=second task=download:unet")[1]
    assert told.startswith("download:unet: up to date")


def test_damage_is_told_and_where(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    victim = next((here.parent / "store/artifacts/trace").glob("*/graph.json"))
    victim.write_text("damaged")
    (told,) = sdbuild("why config=mine")[1].splitlines()[:1]
    assert "would run: its artifact in the store is damaged: graph.json has 7 bytes instead of " in told


@pytest.mark.parametrize("text", ["{", "", "[]"])
def test_a_damaged_stamp_is_told(sdbuild: COMMAND, here: Path, text: str) -> None:
    build(here)
    next((here.parent / "store/artifacts/trace").glob("*.json")).write_text(text)
    assert (
        "its artifact in the store is damaged: its stamp is damaged, or of another version" in sdbuild("plan mine")[1]
    )
    assert build(here) and sdbuild("plan mine")[0] == 0


def test_what_the_collector_removed_is_told(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    recipe = (here / "mine.yaml").rename(here / "renamed.yaml")
    told = sdbuild("gc dry=1 older=0d")[1]
    assert "would be removed: " in told and "  mine.yaml, built here, exists no more\n" in told
    assert "0 of 15" in sdbuild("plan config=renamed")[1]
    recipe.rename(here / "mine.yaml")
    assert "15 artifacts that 1 recipe in use needs\n    mine.yaml\n  removed: 0 B\n" in sdbuild("gc older=0d")[1]
    assert "0 of 15" in sdbuild("plan config=mine")[1]
    (here / "mine.yaml").rename(here / "renamed.yaml")
    assert ", 15 used within 30d\n" in sdbuild("gc")[1]
    assert "0 of 15" in sdbuild("plan config=renamed")[1]
    told = sdbuild("gc older=0d")[1]
    assert (
        "removed: " in told and " of it stay on the disk as results under build/, which `doit clean` removes\n" in told
    )
    assert "15 of 15" in sdbuild("plan config=renamed")[1]


def test_a_build_uses_all_that_its_results_are_made_of(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    for stamp in (here.parent / "store/artifacts").glob("*/*.json"):
        os.utime(stamp, (1e9, 1e9))
    recipe = (here / "mine.yaml").rename(here / "moved.yaml")
    assert "kept: 0 B\n" in sdbuild("gc dry=1")[1]
    recipe.rename(here / "mine.yaml")
    assert build(here) == []
    recipe.with_name("mine.yaml").rename(here / "moved.yaml")
    assert ", 15 used within 30d\n" in sdbuild("gc")[1]


def test_the_collector_makes_the_store_as_small_as_asked(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    told = sdbuild("gc max=0kB")[1]
    assert ", 15 artifacts for max=0kB, the least recently used (15 of them needed by recipes in use)\n" in told
    assert "15 of 15" in sdbuild("plan config=mine")[1]


def test_a_record_that_cant_be_read_stops_the_collector_and_no_build(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    (record,) = (here.parent / "store/builds").glob("*.json")
    record.write_text("{")
    (here / "mine.yaml").rename(here / "renamed.yaml")
    assert sdbuild("gc older=0d") == (
        1,
        "",
        f"error: {record}: damaged, or not a record of a build, so nothing is removed; build its recipe again, or remove the "
        "file if that is no more\n",
    )
    (here / "renamed.yaml").rename(here / "mine.yaml")
    assert build(here) == []
    assert "15 artifacts that 1 recipe in use needs" in sdbuild("gc older=0d")[1]


def test_clean_removes_results_and_only_those(sdbuild: COMMAND, here: Path) -> None:
    build(here)
    (here / "build/mine/notes.txt").touch()
    assert sdbuild("clean config=mine")[1] == "removed build/mine; left alone in it: notes.txt\n"
    assert [path.name for path in (here / "build/mine").iterdir()] == ["notes.txt"]
    (here / "build/mine/notes.txt").unlink()
    build(here)
    assert sdbuild("clean config=mine")[1] == "removed build/mine\n"
    assert not (here / "build").exists()
    assert sdbuild("clean config=mine")[1] == "build/mine: nothing to remove\n"
    assert build(here) == []


def test_validate_tells_what_a_recipe_comes_to(sdbuild: COMMAND) -> None:
    out = sdbuild("validate config=mine")[1]
    assert out.startswith("mine.yaml: valid, 1 build\n") and "macOS14" in out and "512x512" in out
    assert "valid, 5 builds" in sdbuild("validate config=shapes-bits")[1]


def test_list_tells_recipes_and_commands(sdbuild: COMMAND) -> None:
    out = sdbuild("list")[1]
    assert re.search(r"^  shapes +The small model that comes with sdbuild", out, re.MULTILINE)
    assert " build a recipe into build/<recipe>/\n" in out


def test_a_variant_alone(sdbuild: COMMAND, here: Path) -> None:
    assert "of 15 tasks" in sdbuild("plan config=shapes-bits variant=4bit")[1]
    assert sdbuild("plan config=shapes-bits variant=4bits") == (
        3,
        "",
        "error: unknown variant '4bits': did you mean '4bit'?\nVariants of shapes-bits: 8bit, 6bit, 4bit, 2bit, 1bit\n",
    )
    assert sdbuild("plan config=mine variant=x")[2] == "error: variant=x: the recipe mine has no variants\n"


@pytest.mark.parametrize("line", ["why config=mine task=convert:unett", "convert:unett config=mine"])
def test_an_unknown_task_gets_a_suggestion(sdbuild: COMMAND, line: str) -> None:
    status, out, err = sdbuild(line)
    assert (status, out) == (3, "")
    assert err.startswith(
        "error: unknown task 'convert:unett': did you mean 'convert:unet'?\nTasks of this recipe: config, "
    )


def test_a_recipe_with_errors_ends_every_command_with_them(sdbuild: COMMAND, here: Path) -> None:
    edit(here, "bits: 6", "bits: 5")
    for line in ("build", "plan", "why", "validate", "clean", "convert"):
        status, out, err = sdbuild(f"{line} config=mine")
        assert (status, out) == (4, "")
        assert err.startswith("error: mine.yaml:6:") and "allowed: 1, 2, 3, 4, 6, 8" in err and "Traceback" not in err


def test_warnings_are_told_and_in_nobodys_way(sdbuild: COMMAND, here: Path) -> None:
    edit(here, ", revision: 0123456789012345678901234567890123456789", "")
    status, out, err = sdbuild("plan config=mine")
    assert status == 10 and "would run" in out and "warning: " in err


def test_xcode_is_checked_before_anything_runs(sdbuild: COMMAND, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    (here / "mine.yaml").write_text(f"{RECIPE}compile: xcode\n")
    status, out, err = sdbuild("build config=mine")
    assert (status, out) == (1, "") and err.startswith("error: compile: xcode: ")


def test_generate_takes_results_from_where_they_were_put(
    sdbuild: COMMAND, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr("sdbuild.engine.commands.generate._generate", lambda *given: calls.append(given))
    status, _, err = sdbuild("generate mine results=App prompt=x")
    assert status == 1 and err.endswith(f"run: sdbuild build config={here}/mine.yaml out=App\n")
    (here / "App").mkdir()
    (here / "App/manifest.json").touch()
    assert sdbuild("generate mine --results App prompt=x seed=5")[0] == 0
    images = str(here / "build/images/mine")
    assert calls == [([str(here / "App")], {"prompt": "x", "seed": "5", "out": images}, here, False)]
    assert sdbuild("generate bundle=App results=App prompt=x")[0] == 3
    assert sdbuild("generate mine")[0] == 3


def test_version(sdbuild: COMMAND) -> None:
    assert sdbuild("--version")[1].startswith("sdbuild ")
