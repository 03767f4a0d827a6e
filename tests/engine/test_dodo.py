"""The same through doit and ``dodo.py``, in processes of their own."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdbuild.engine.dodo import run_doits
from sdbuild.engine.request import graph_of, load
from sdbuild.store import open_store
from tests.engine.conftest import ROOT
from tests.engine.fakes import pretend_to_build
from tests.engine.test_commands import RECIPE

DOIT = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = {"torch", "coremltools", "diffusers", "transformers", "numpy", "safetensors", "huggingface_hub", "rich"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipe mine.yaml, which the store beside it has all artifacts of."""
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "store"))
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "mine.yaml").write_text(RECIPE)
    pretend_to_build(graph_of(load({"config": "mine"}, folder)), open_store(), folder)
    return folder


@pytest.fixture
def doit(here: Path) -> DOIT:
    """Run doit with the repository's dodo.py for a user who stands in ``here``."""

    def command(*arguments: str, python: tuple[str, ...] = (), cwd: Path = here) -> subprocess.CompletedProcess[str]:
        file = () if cwd == ROOT else ("-f", str(ROOT / "dodo.py"))
        return subprocess.run(
            [sys.executable, *python, "-m", "doit", *file, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )

    return command


def test_doit_alone_builds_shapes(here: Path) -> None:
    pretend_to_build(graph_of(load({}, here)), open_store(), here)
    for name in ("dodo.py", "pyproject.toml"):  # which has doit start with a loader of ours
        (here / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "doit"], cwd=here, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "build/shapes: up to date; 14 reused"


def test_a_build_with_nothing_to_do_imports_nothing_heavy(doit: DOIT) -> None:
    done = doit("build", "config=mine", python=("-X", "importtime"))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "build/mine: up to date; 15 reused"
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "sdbuild.engine.session" in imported and "doit.runner" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize("command", ["-n 2 build", "run -n 2 build", "build -n 2", "-n2", "run"])
def test_doits_ways_to_say_it(doit: DOIT, here: Path, command: str) -> None:
    (here / "build/mine/Resources/vocab.json").unlink()
    done = doit(*command.split(), "config=mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "build/mine: written; 15 reused"
    assert (here / "build/mine/Resources/vocab.json").exists()
    assert sorted(path.name for path in here.iterdir()) == ["build", "mine.yaml"]


def test_one_task_and_one_stage(doit: DOIT) -> None:
    assert doit("convert:unet", "config=mine").stdout == "4 reused\n"
    assert doit("download", "config=mine").stdout == "4 reused\n"


def test_commands_are_tasks(doit: DOIT) -> None:
    assert doit("plan", "config=mine").stdout.startswith("mine (mine.yaml): 0 of 15 tasks would run\n")
    assert doit("why", "config=mine", "task=convert:unet").stdout.startswith("convert:unet: up to date")
    assert doit("validate", "config=mine").stdout.startswith("mine.yaml: valid")
    assert doit("gc", "dry=1").stdout.startswith("store ")


def test_a_folder_below_the_repository(doit: DOIT) -> None:
    assert doit("-k", "list", cwd=ROOT / "configs").stdout.startswith("Recipes (config=NAME")


MISTAKES = [
    ("confg=mine", 3, "unknown variable 'confg': did you mean 'config'?\n`build` takes config=, variant="),
    ("clean confg=x", 3, "unknown variable 'confg': did you mean 'config'?\n"),
    ("biuld", 3, "unknown command 'biuld': did you mean 'build'?\nCommands: "),
    ("build config=mien", 4, "No recipe 'mien': "),
    ("convert:unett config=mine", 3, "unknown task 'convert:unett': did you mean 'convert:unet'?\n"),
    ("plan config=shapes-bits variant=4bits", 3, "unknown variant '4bits': did you mean '4bit'?\n"),
    ("-P process -n 2 build", 3, "-P: stages always run in processes of their own"),
    ("-d / build", 3, "-d: results go to the folder that you stand in"),
    ("build -x", 3, "unknown option '-x'\n"),
    ("clean -n 2", 3, "`clean` takes no options\n"),
    ("chunk config=mine", 3, "mine has no task of the stage chunk\n"),
    ("build config=", 3, "config= is empty; "),
    ("''", 3, "unknown command ''\n"),
    ("build ''", 3, "unknown command ''\n"),
    ("forget", 3, "there is no command 'forget': nothing is remembered"),
    ("ignore convert:unet", 3, "there is no command 'ignore': "),
    ("reset-dep", 3, "there is no command 'reset-dep': "),
    ("info build", 3, "there is no command 'info': to see why a task would run: `why task=NAME`"),
    ("dumpdb", 3, "there is no command 'dumpdb': "),
    ("strace build", 3, "there is no command 'strace': "),
    ("tabcompletion -s zsh", 3, "-s: "),
    ("auto", 3, "there is no command 'auto': "),
]


@pytest.mark.parametrize(("line", "status", "expected"), MISTAKES)
def test_mistakes_end_in_one_message(
    here: Path, capsys: pytest.CaptureFixture[str], line: str, status: int, expected: str
) -> None:
    assert run_doits(shlex.split(line), here) == status
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith(f"error: {expected}")


@pytest.mark.parametrize("line", ["build ''", "''", "forget"])
def test_lines_that_doit_itself_does_wrong(doit: DOIT, line: str) -> None:
    done = doit(*shlex.split(line), cwd=ROOT)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
