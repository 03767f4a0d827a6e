"""What commands say of themselves, and a command that is one file elsewhere."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sdbuild.engine import commands
from sdbuild.engine.arguments import parse
from sdbuild.engine.cli import run
from sdbuild.engine.dodo import run_doits
from sdbuild.engine.reference import pages
from sdbuild.errors import UserError
from sdbuild.recipe import steps
from tests.engine.conftest import ROOT

TOY = """
from sdbuild.engine.command import CONFIG, Command, Variable


def run(arguments, here):
    print(f"{arguments.variables} in {here.name}")
    return 7


COMMAND = Command(
    "greet", "Ask", "greet somebody", "Says hello.\\n\\nAnd goodbye.", run,
    (CONFIG, Variable("loud", "shout", switch=True)), (("greet loud=1", "shout"),),
)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a command, which is listed beside our own."""
    (tmp_path / "greet.py").write_text(TOY)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "sdbuild.engine.commands.greet", raising=False)
    return tmp_path


def test_a_command_is_one_file(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["greet", "shapes", "--loud"], toy) == 7
    assert capsys.readouterr().out == f"{{'loud': '1', 'config': 'shapes'}} in {toy.name}\n"
    assert run(["help"], toy) == 0
    assert "\n  greet       greet somebody\n" in capsys.readouterr().out
    assert run(["greet", "-h"], toy) == 0
    shown = capsys.readouterr().out
    assert (
        "Says hello.\n\nAnd goodbye." in shown and "  loud=    shout\n" in shown and "  sdbuild greet loud=1\n" in shown
    )
    assert run(["greeet"], toy) == 3
    assert "did you mean 'greet'?\nCommands: build, check, clean" in capsys.readouterr().err
    assert run(["greet", "lout=1"], toy) == 3
    assert "did you mean 'loud'?\n`greet` takes config=, loud=\n" in capsys.readouterr().err
    assert run(["greet", "-n", "2"], toy) == 3
    assert capsys.readouterr().err == "error: `greet` takes no options\n"


@pytest.mark.parametrize("name", commands.names())
def test_what_a_command_says_of_itself(name: str) -> None:
    command = commands.find(name)
    assert command.summary and command.help and command.examples
    assert len({variable.name for variable in command.variables}) == len(command.variables)
    for line, _ in command.examples:
        parsed = parse(shlex.split(line.replace("mine.yaml", "shapes").replace("Model.zip", "m.zip")), ROOT)
        assert parsed.command == name


@pytest.mark.parametrize("line", ["--help", "-h", "help", "--help config=x"])
def test_help_of_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert run_doits(line.split(), tmp_path) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f" {name} {commands.find(name).summary} " in shown for name in commands.names())


@pytest.mark.parametrize(
    "line", ["help build", "build --help", "build -h config=x -n 2", "--help build", "run build -h"]
)
def test_help_of_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert run_doits(line.split(), tmp_path) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("sdbuild build: build a recipe into build/<recipe>/\n\nUsage: sdbuild build ")
    assert "  config=   the recipe: " in shown and "  -n N, --process N  how many" in shown and "Examples:\n" in shown


def test_help_of_a_stage_and_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "convert:unet"], tmp_path) == 0
    assert "`sdbuild convert:unet RECIPE` runs it" in capsys.readouterr().out
    for line in ("help biuld", "biuld --help"):
        assert run(line.split(), tmp_path) == 3
        assert capsys.readouterr().err.startswith("error: unknown command 'biuld': did you mean 'build'?\n")


def test_sdbuild_alone_prints_help_and_builds_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SDBUILD_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-m", "sdbuild"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and "Usage: sdbuild COMMAND" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_readme_and_docs_have_the_commands_own_help() -> None:
    for path, text in pages().items():
        assert path.read_text() == text, "run python -m sdbuild.engine.reference"


def test_a_command_with_another_name_than_its_file_is_a_fault(toy: Path) -> None:
    (toy / "greet.py").rename(toy / "meet.py")
    with pytest.raises(AssertionError, match=r"COMMAND of meet\.py"):
        commands.find("meet")
    with pytest.raises(UserError):
        parse(["greet"], toy)


@pytest.mark.parametrize("name", steps.names())
def test_help_of_a_step_has_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run(["help", name], tmp_path) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{name}: a step of a recipe's `compress`: ")
    assert all(f"\n  {option}: " in shown for option in steps.find(name).model_fields)


@pytest.mark.parametrize("name", ["graph", "why"])
def test_usage_has_the_task_that_examples_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run(["help", name], tmp_path) == 0
    assert f"\nUsage: sdbuild {name} [TASK] [RECIPE] [name=value …]\n" in capsys.readouterr().out
