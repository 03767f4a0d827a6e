"""``json=1``: one document on the standard output, whatever becomes of the command."""

import json
from pathlib import Path
from typing import Any

import pytest

from sdbuild.engine import commands
from sdbuild.engine.cli import run
from sdbuild.engine.request import graph_of, load
from sdbuild.store import open_store
from tests.engine.fakes import pretend_to_build
from tests.engine.test_commands import RECIPE

HEAD = {"schema", "command", "status", "errors", "warnings"}
ANSWERS = {
    "plan mine": {"recipe", "path", "tasks", "would_run", "would_write", "models", "disk"},
    "why mine": {"recipe", "path", "tasks"},
    "validate mine": {"recipe", "path", "extends", "builds"},
    "list": {"recipes", "commands"},
    "devices": {"devices"},
    "check": {"store", "artifacts", "bytes", "unreadable_stamps", "damaged"},
    "clean mine": {"recipe", "path", "removed"},
    "graph trace:unet mine": {"task", "graph"},
    "build mine": {"ran", "reused", "written", "results", "verify"},
    "gc --dry": {
        *("store", "dry", "total_bytes", "kept_bytes", "removed_bytes", "held_bytes", "leftover_bytes"),
        *("resumable_bytes", "kept_needed", "kept_recent", "removed_unused", "removed_over", "removed_over_needed"),
        *("recipes", "recipes_gone"),
    },
}
"""The keys of each answer. One that goes, or means something else, needs another `SCHEMA`."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipe mine.yaml, which the store beside it has all artifacts of."""
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "store"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "mine.yaml").write_text(RECIPE)
    pretend_to_build(graph_of(load({"config": "mine"}, folder)), open_store(), folder)
    return folder


def answer(line: str, here: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    capsys.readouterr()
    status = run([*line.split(), "json=1"], here)
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["schema"] == 1 and found["status"] == status
    return found, printed.err


@pytest.mark.parametrize("line", ANSWERS)
def test_keys(here: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    found, err = answer(line, here, capsys)
    assert found.keys() == HEAD | ANSWERS[line]
    assert (found["command"], found["status"], found["errors"]) == (line.split()[0], 0, [])
    assert err == ("check: read the store\n" if line == "check" else "")


def test_what_is_asked_in_ci(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.yaml").write_text(RECIPE.replace("bits: 6", "bits: 4"))
    plan, _ = answer("plan mine", here, capsys)
    assert plan["status"] == 10 and plan["tasks"] == 15
    assert plan["would_run"][0] == {
        "task": "compress:unet",
        "why": "steps[0].palettize.bits 6 → 4",
        "what": "compress the weights",
    }
    unet = next(model for model in plan["models"] if model["name"] == "Unet")
    assert unet["bits"] == "4 (palettes)" and not unet["exact"] and unet["package_bytes"] > 4e8
    why, _ = answer("why bundle mine", here, capsys)
    assert why["tasks"][0]["causes"] == [{"task": "compress:unet", "why": "steps[0].palettize.bits 6 → 4"}]
    (here / "mine.yaml").write_text(RECIPE)
    done, _ = answer("build mine", here, capsys)
    assert done["ran"] == [] and len(done["reused"]) == 15 and not done["written"]
    assert done["results"][0]["folder"] == str(here / "build/mine") and done["results"][0]["variant"] is None


def test_errors_and_warnings(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = RECIPE.replace("bits: 6", "bits: 5").replace("512x512", "513x513")
    (here / "mine.yaml").write_text(wrong)
    found, err = answer("validate mine", here, capsys)
    assert found.keys() == HEAD and found["status"] == 4
    (error,) = found["errors"]
    assert err == f"error: {error['message']}\n"
    assert [(each["file"], each["line"]) for each in error["problems"]] == [("mine.yaml", 5), ("mine.yaml", 6)]
    assert "allowed: 1, 2, 3, 4, 6, 8" in error["problems"][1]["notes"]
    (here / "mine.yaml").write_text(RECIPE.replace(", revision: 0123456789012345678901234567890123456789", ""))
    found, _ = answer("plan mine", here, capsys)
    assert found["status"] == 10 and "warning: " in found["warnings"][0]["message"]
    for line, status in (("plan confg=x", 3), ("biuld", 3), ("plan nothing", 4), ("completion bash", 3)):
        found, err = answer(line, here, capsys)
        assert found["status"] == status and err == f"error: {found['errors'][0]['message']}\n"


def test_without_a_command_it_is_that_of_build(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = answer("config=mine", here, capsys)
    assert (found["command"], found["status"]) == ("build", 0)
    found, _ = answer("clean mine", here, capsys)
    assert found["removed"] == [{"folder": str(here / "build/mine"), "left": []}]


def test_damage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((here.parent / "store/artifacts/trace").glob("*/graph.json")).unlink()
    found, _ = answer("check", here, capsys)
    (damaged,) = found["damaged"]
    assert found["status"] == 1 and damaged["stage"] == "trace" and damaged["damage"] == ["graph.json is missing"]


def test_a_stage_that_fails(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    (here / "mine.yaml").write_text(f"{RECIPE}compile: xcode\n")
    found, _ = answer("build mine", here, capsys)
    assert found["status"] == 1 and found["errors"][0]["message"].startswith("compile: xcode: ")


def test_a_fault(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sdbuild.engine.request.load", fail)
    with pytest.raises(ZeroDivisionError):
        run(["validate", "--json"], here)
    assert json.loads(capsys.readouterr().out)["status"] == 2


def test_every_command_that_offers_it_is_tried_here() -> None:
    offering = {command.name for command in commands.every() if command.variable("json")}
    assert offering == {line.split()[0] for line in ANSWERS} | {"verify", "generate"}
