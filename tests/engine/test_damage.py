"""Artifacts and results that were damaged, and stages that fail."""

import os
import subprocess
from pathlib import Path

import pytest

from sdbuild.errors import NO_MEMORY
from sdbuild.store.digest import tree_digest
from tests.engine.conftest import Toy


def test_a_damaged_artifact_is_noticed_and_made_again(toy: Toy) -> None:
    assert toy.run() == 0
    toy.ran()
    before = tree_digest(toy.results)
    weights = "A.mlpackage/weights/weight.bin"
    for damage in (_remove, _truncate, _edit, _add, _lose_stamp, _garble_stamp):
        (artifact,) = (path for path in (toy.store / "artifacts/convert").iterdir() if path.is_dir())
        damage(artifact / weights, artifact.with_name(f"{artifact.name}.json"))
        assert (toy.run(), toy.ran()) == (0, ["convert:a"]), damage
        assert tree_digest(toy.results) == before


def _remove(file: Path, stamp: Path) -> None:
    file.unlink()


def _truncate(file: Path, stamp: Path) -> None:
    os.truncate(file, 3)


def _edit(file: Path, stamp: Path) -> None:
    text = file.read_text()
    file.write_text(text[:-1] + "?")


def _add(file: Path, stamp: Path) -> None:
    file.with_name("more").touch()


def _lose_stamp(file: Path, stamp: Path) -> None:
    stamp.unlink()


def _garble_stamp(file: Path, stamp: Path) -> None:
    stamp.write_text(stamp.read_text()[:50])


def test_a_copied_store_is_as_good_as_the_original(toy: Toy) -> None:
    assert toy.run() == 0
    toy.ran()
    copy = toy.store.with_name("copy")
    subprocess.run(["cp", "-r", toy.store, copy], check=True)
    toy.store = copy
    assert (toy.run(), toy.ran()) == (0, [])


def test_results_are_kept_as_they_should_be_and_nothing_else_is_touched(toy: Toy) -> None:
    assert toy.run() == 0
    toy.ran()
    before = tree_digest(toy.results)
    model = toy.results / "x/Resources/A.mlmodelc/model.mil"
    mine = toy.results / "x/notes.txt"
    for damage in (
        lambda: model.unlink(),
        lambda: (toy.results / "x/Resources/more").touch(),
        lambda: subprocess.run(["rm", "-r", toy.results / "y/packages"], check=True),
        lambda: subprocess.run(["mv", toy.results / "y/Resources", toy.results / "y/.sdbuild-old"], check=True),
        lambda: (toy.results / "x/manifest.json").rename(toy.results / "x/Resources/manifest.json"),
        lambda: model.write_text("edited through the link, so in the store too"),
    ):
        damage()
        mine.write_text("mine")
        assert toy.run() == 0
        assert mine.read_text() == "mine"
        mine.unlink()
        assert tree_digest(toy.results) == before
    assert toy.ran() == ["bundle@x"]


def test_results_of_variants_that_are_no_more_are_removed(toy: Toy) -> None:
    assert toy.run() == 0
    mine = toy.results / "mine"
    (mine / "packages").mkdir(parents=True)
    (mine / "manifest.json").write_text('{"name": "of a web page"}')
    assert toy.run(changes={"variants": ["y", "z"]}) == 0
    assert sorted(path.name for path in toy.results.iterdir()) == ["mine", "y", "z"]
    assert sorted(path.name for path in mine.iterdir()) == ["manifest.json", "packages"]


def test_a_failure_keeps_what_is_done_and_what_does_not_depend_on_it(toy: Toy) -> None:
    wrong = {"compress:a@x": {"wrong": "user"}}
    assert toy.run("-n", "2", changes=wrong) == 1
    assert "convert:a" in toy.ran()
    assert toy.run("bundle@y", changes=wrong) == 0
    assert not {"config", "convert:a"} & set(toy.ran())


def test_what_does_not_depend_on_a_failure_is_done_when_asked_to_go_on(
    toy: Toy, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = {"compress:a@x": {"wrong": "user"}}
    assert toy.run("-c", "build", changes=wrong) == 1
    assert {"bundle@y", "compress:a@x"} <= set(toy.ran())
    told = capfd.readouterr()
    assert told.err == "error: compress:a@x: the toy says no\n"
    assert told.out.splitlines()[-1].startswith("not finished (6 run")


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("user", "error: trace:a: the toy says no\n"),
        ("kill", "error: trace:a: killed by SIGKILL: most likely the system ran out of memory."),
        ("bug", "error: trace:a: crashed: a fault of sdbuild; the end of its log:\n"),
    ],
)
def test_what_a_failure_says(toy: Toy, capfd: pytest.CaptureFixture[str], wrong: str, expected: str) -> None:
    assert toy.run(changes={"trace:a": {"wrong": wrong}}) == 1
    told = capfd.readouterr().err
    assert told.startswith(expected)
    if wrong == "bug":
        log = Path(told.rsplit("the whole log: ", 1)[1].strip())
        assert "on its way" in log.read_text() and "ValueError: a bug in the toy" in told
    assert not any((toy.store / "work").iterdir())


@pytest.mark.parametrize("wrong", ["memory", "torch", "wrapped", "linker", "abort"])
def test_too_little_memory_is_one_line_and_the_store_is_intact(toy: Toy, wrong: str) -> None:
    limited = ("prlimit", "--data=1500000000")
    failed = toy.build(changes={"trace:a": {"wrong": wrong}}, prefix=limited)
    assert failed.returncode == 1
    assert failed.stderr == f"error: trace:a: {NO_MEMORY}\n"
    assert toy.build(prefix=limited).returncode == 0


def test_scratch_outlives_a_failed_attempt(toy: Toy) -> None:
    changes = {"config": {"wrong": "scratch"}}
    assert toy.run("config", changes=changes) == 1
    assert toy.run("config", changes=changes) == 0
    (resumed,) = toy.store.glob("artifacts/config/*/resumed")
    assert resumed.read_text() == "of the first attempt"
    assert not any((toy.store / "partial").iterdir())


def test_what_a_stage_warns_of_is_told_and_the_build_goes_on(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    assert toy.run(changes={"trace:a": {"warn": "mind the toy"}}) == 0
    assert capfd.readouterr().out.splitlines().count("trace:a: warning: mind the toy") == 1
