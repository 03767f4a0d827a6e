"""How programs end: their exit status, and what becomes of output that can't be written or encoded."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdbuild.engine.arguments import Options
from sdbuild.engine.session import Session
from sdbuild.store import open_store
from tests.engine.conftest import ROOT, Toy
from tests.engine.run_graph import run_graph
from tests.engine.test_commands import RECIPE
from tests.engine.toy import NODES, graph

LOST = "error: the output can't be written: {}; all else was done as if it could\n"
FULL = LOST.format("No space left on device")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"}


def run(shell: str, *arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A program of Python's, its arguments in "$@", as a shell runs it."""
    return subprocess.run(
        ["bash", "-c", shell.replace("PROGRAM", f'{sys.executable} "$@"'), "bash", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("shell", "status", "expected"),
    [
        ("PROGRAM > /dev/full", 1, FULL),
        ("PROGRAM >&-", 1, LOST.format("Bad file descriptor")),
        ("PROGRAM | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("PROGRAM > /dev/null 2>&-", 0, ""),
    ],
)
def test_output_that_cant_be_written(shell: str, status: int, expected: str) -> None:
    done = run(shell, "-m", "sdbuild", "list")
    assert (done.returncode, done.stdout, done.stderr.decode()) == (status, b"", expected)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_output_that_cant_be_encoded(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "größe.yaml").write_text(RECIPE.replace("512x512", "513x513"), encoding="utf-8")
    environment = ASCII if encoding == "ascii" else {"PYTHONIOENCODING": "latin-1"}
    done = run("PROGRAM", "-m", "sdbuild", "validate", "config=größe", cwd=tmp_path, **environment)
    shown = "größe" if encoding == "latin-1" else "gr\\udcc3\\udcb6\\udcc3\\udc9fe"
    assert done.returncode == 4
    assert done.stderr.decode(encoding).startswith(f"error: {shown}.yaml:5:")


def test_characters_that_look_alike_take_the_place_of_those_that_cant_be_encoded() -> None:
    code = "from sdbuild.program import run_program; run_program(lambda: print('6 \\u2192 4\\u2026 512\\xd7512 \\u043c') or 0)"
    assert run("PROGRAM", "-c", code, **ASCII).stdout == b"6 -> 4... 512x512 \\u043c\n"


def test_a_folder_that_the_locale_cant_name_is_not_said_to_be_missing(tmp_path: Path) -> None:
    (tmp_path / "модель").mkdir()
    (tmp_path / "mine.yaml").write_text(RECIPE.replace("org/model, revision", "./модель, revision"), encoding="utf-8")
    done = run("PROGRAM", "-m", "sdbuild", "validate", "config=mine", cwd=tmp_path, **ASCII)
    assert done.returncode == 4 and b"characters that this locale has no bytes for" in done.stderr


def test_a_build_whose_output_is_lost_keeps_everything(toy: Toy) -> None:
    done = run("PROGRAM > /dev/full", *toy.command()[1:], **toy.environment())
    assert (done.returncode, done.stderr.decode()) == (1, FULL)
    assert len(toy.ran()) == NODES and (toy.results / "x/manifest.json").exists()
    assert toy.run() == 0 and toy.ran() == []


def test_closed_streams_are_not_taken_for_files_of_the_store(toy: Toy) -> None:
    done = run("PROGRAM <&- >&- 2>&-", *toy.command()[1:], **toy.environment())
    assert done.returncode == 1 and len(toy.ran()) == NODES
    assert toy.run() == 0 and toy.ran() == []


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"trace:a": "user"}, 1),
        ({"trace:a": "source"}, 5),
        ({"trace:a": "kill"}, 1),
        ({"compress:a@x": "shortfall", "compress:a@y": "source"}, 6),
        ({"compress:a@x": "source", "compress:a@y": "bug"}, 5),
    ],
)
def test_the_status_says_what_failed_and_of_several_failures_the_highest_counts(
    toy: Toy, wrong: dict[str, str], status: int
) -> None:
    changes: dict[str, Any] = {label: {"wrong": how} for label, how in wrong.items()}
    assert toy.run("-c", changes=changes) == status


def test_a_fault_of_the_engine_is_no_success(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy.run() == 0
    monkeypatch.setenv("SDBUILD_STORE", str(toy.store))

    def broken(self: Session, build: object) -> bool:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Session, "is_shown", broken)
    capsys.readouterr()
    assert run_graph(graph(toy.here / "toy.yaml"), open_store(), toy.here, Options()) == 2
    told = capsys.readouterr()
    assert "ZeroDivisionError: a bug" in told.err and "up to date" not in told.out


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("1 / 0", 2),
        ("[][:0].x", 2),
        ("__import__('os').kill(__import__('os').getpid(), 2)", 130),
        ("exec('raise MemoryError')", 1),
        ("__import__('sys').exit(7)", 7),
    ],
)
def test_every_end_of_a_program_has_its_status(code: str, status: int) -> None:
    done = run("PROGRAM", "-c", f"from sdbuild.program import run_program; run_program(lambda: {code})")
    assert done.returncode == status
    assert (b"Traceback" in done.stderr) == (status == 2)


@pytest.mark.parametrize("program", ["sdbuild.coreml.compiler", "sdbuild.generate"])
def test_other_programs_have_the_same_statuses(program: str) -> None:
    done = run("PROGRAM", "-m", program)
    assert done.returncode == 3 and b"Traceback" not in done.stderr
