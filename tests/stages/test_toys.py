"""A stage from another folder: two files, and nothing is edited elsewhere."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sdbuild import jobs
from sdbuild.engine.servers import COLD
from sdbuild.errors import Status
from sdbuild.store import Store
from tests.extensions import STAGES, python


def with_toys(store: Path, *command: str, toys: Path = STAGES, **extra: str) -> subprocess.CompletedProcess[str]:
    """A program of Python's in a process that finds the toys."""
    return python([toys], *command, SDBUILD_STORE=str(store), **extra)


@pytest.mark.parametrize("extra", [{}, {COLD: "1"}], ids=["forked", "new processes"])
def test_it_is_built_by_real_processes(extra: dict[str, str], tmp_path: Path) -> None:
    built = with_toys(tmp_path / "store", "-m", "tests.stages.with_toys", str(tmp_path), **extra)
    assert built.returncode == 0, built.stderr
    stamps = Store(tmp_path / "store").stamps("echo", 10)
    first, second = sorted((stamp.ingredients for stamp in stamps), key=lambda each: len(each["tools"]))
    assert first["parameters"] == {"voice": {"times": 2}, "words": ["ho"]}
    assert [(item["role"], item["name"]) for item in first["inputs"]] == [("heard.it", "words")]
    assert (first["tools"], list(second["tools"])) == ({}, ["pyyaml"])
    assert second["parameters"] == {"heard": {}, "voice": {"loud": True, "times": 1}, "words": []}
    said = {file.read_text() for file in (tmp_path / "store").glob("artifacts/echo/*/words")}
    assert max(said, key=str.isupper) == "IT: CONFIG WORDS HEY\n HO IT: CONFIG WORDS HEY\n HO"


def test_code_that_changes_while_it_runs_makes_nothing(tmp_path: Path) -> None:
    toys = shutil.copytree(STAGES, tmp_path / "toys")
    build = ("-m", "tests.stages.with_toys", str(tmp_path))
    failed = with_toys(tmp_path / "store", *build, toys=toys, SCRIBBLE="1")
    assert failed.returncode == Status.SOURCE
    assert f"echo:first: {toys}/stages/echo.py changed while it was built from" in failed.stderr
    assert not Store(tmp_path / "store").stamps("echo", 10)
    assert with_toys(tmp_path / "store", *build, toys=toys).returncode == 0


def test_a_command_of_another_folder(tmp_path: Path) -> None:
    greeted = with_toys(tmp_path, "-m", "sdbuild", "hello")
    assert (greeted.returncode, greeted.stdout) == (0, "hello\n")
    assert "\n  hello " in with_toys(tmp_path, "-m", "sdbuild", "help").stdout


def test_the_command_line_knows_it(tmp_path: Path) -> None:
    helped = with_toys(tmp_path, "-m", "sdbuild", "help", "echo")
    assert helped.stdout.startswith("echo: a stage: repeat what others say\n")
    refused = with_toys(tmp_path, "-m", "sdbuild", "build", "echo", "config=shapes")
    assert (refused.returncode, refused.stderr) == (Status.USAGE, "error: shapes has no task of the stage echo\n")
    assert "echo" not in jobs.names()
