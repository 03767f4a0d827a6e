"""The folders of results: several builds that share them, and those that can't be written."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdbuild.engine.results import Destination
from sdbuild.engine.session import Session
from sdbuild.store import Store
from tests.engine.conftest import Toy
from tests.engine.toy import graph

XY, XZ = {"variants": ["x", "y"]}, {"variants": ["x", "z"]}


def whole(toy: Toy) -> list[str]:
    """The variants whose results are there."""
    return sorted(path.parent.name for path in toy.results.glob("*/manifest.json"))


def test_recipes_of_one_name_leave_each_others_variants_alone(toy: Toy) -> None:
    assert toy.run(changes=XY) == 0
    assert toy.run(changes=XZ | {"recipe": "other.yaml"}) == 0
    assert whole(toy) == ["x", "y", "z"]
    assert toy.run(changes=XY) == 0
    assert whole(toy) == ["x", "y", "z"]
    assert toy.run(changes={"variants": ["z"], "recipe": "other.yaml"}) == 0
    assert whole(toy) == ["y", "z"]  # x was one of its own


def test_results_of_another_recipe_are_not_replaced_silently(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    other = {"recipe": "other.yaml", "bundle": {"text": "other"}}
    assert toy.run() == 0 and toy.run(changes={"bundle": {"text": "edited"}}) == 0
    assert "warning" not in capfd.readouterr().out  # they were its own
    assert toy.run(changes=other) == 0
    told = [line for line in capfd.readouterr().out.splitlines() if "warning" in line]
    assert [line.partition("; give one")[0] for line in sorted(told)] == [
        f"toy: warning: {toy.results}/{each} held the results of {toy.here}/toy.yaml, which are replaced"
        for each in "xy"
    ]
    assert toy.run(changes=other) == 0 and "warning" not in capfd.readouterr().out
    assert toy.run(changes={"recipe": "same.yaml"} | {"bundle": {"text": "other"}}) == 0
    (toy.here / "other.yaml").unlink()
    (toy.here / "same.yaml").unlink()
    assert toy.run() == 0 and "warning" not in capfd.readouterr().out  # a recipe that was renamed


@pytest.mark.parametrize("recipes", [("toy.yaml", "toy.yaml"), ("toy.yaml", "other.yaml")])
def test_builds_of_different_variants_at_once_remove_nothing_of_each_other(toy: Toy, recipes: tuple[str, str]) -> None:
    assert toy.run(changes={"variants": ["x", "w"]}) == 0
    slow = {"compile:a@y": {"sleep": 1.5}}
    first = toy.start("-n", "3", changes=XY | slow | {"recipe": recipes[0]})
    while "compile:a@y" not in toy.log.read_text():
        time.sleep(0.01)
    second = toy.start("-n", "3", changes=XZ | {"recipe": recipes[1]})
    for build in (second, first):
        _, error = build.communicate(timeout=60)
        assert (build.returncode, error) == (0, "")
    assert whole(toy) == ["x", "y", "z"]


WAYS = {
    "a file in the way": (lambda here: (here / "build").write_text(""), "a file is where a folder should be"),
    "a link to nothing": (lambda here: (here / "build").symlink_to("nothing"), "a file is where a folder should be"),
    "a file for a variant": (
        lambda here: [(here / "build/toy").mkdir(parents=True), (here / "build/toy/y").write_text("")],
        "a file is where a folder should be",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_folders_that_cant_be_written_are_refused_before_anything_runs(
    toy: Toy, capfd: pytest.CaptureFixture[str], way: str
) -> None:
    make, expected = WAYS[way]
    make(toy.here)
    assert toy.run() == 1 and toy.ran() == []
    (told,) = capfd.readouterr().err.splitlines()
    assert told.startswith(f"error: the results can't be written: {toy.here}/build") and expected in told
    assert toy.run("compile:a@x") == 0  # which shows nothing


NOBODY = 65534


def run_as_nobody(toy: Toy, changes: dict[str, dict[str, str]] | None = None) -> int:
    """Build in a fork of this process, as it has imported everything, which nobody may not read."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.setuid(NOBODY)
            status = toy.run(changes=changes)
            sys.stderr.flush()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_a_folder_of_somebody_else_serves_what_it_has_and_is_refused_before_anything_runs(
    toy: Toy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert toy.run() == 0
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    subprocess.run(["chown", "-R", f"{NOBODY}", str(toy.store), str(toy.here / "toy.yaml")], check=True)
    assert run_as_nobody(toy) == 0
    capfd.readouterr()
    assert run_as_nobody(toy, {"compile:a@y": {"text": "changed"}}) == 1
    assert capfd.readouterr().err == (
        f"error: the results can't be written: {toy.results}/x: no permission; give it to this user, or build from a folder "
        "of your own\n"
    )


def test_results_that_another_build_removes_while_this_one_waits_are_no_fault(toy: Toy) -> None:
    assert toy.run(changes=XY) == 0
    session = Session(
        graph(toy.here / "toy.yaml", {"variants": ["x"]}), Store(toy.store), Destination(toy.here), 1, whole=True
    )
    for _ in range(2):  # the second time as after waiting for the lock
        session._withdraw(toy.results / "y")
    assert whole(toy) == ["x"]
