"""What builds print, and where results go: ``-v``, ``-q``, ``log=``, ``out=``; with the toy graph."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sdbuild.engine import opening
from sdbuild.engine.cli import run
from sdbuild.engine.request import Request
from tests.engine.conftest import Toy
from tests.engine.toy import NODES, graph

BUILD = Callable[..., tuple[int, str, str]]


@pytest.fixture
def build(toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> BUILD:
    """Run a command line whose recipe is the toy graph: its status, output and errors."""
    recipe = toy.here / "toy.yaml"
    recipe.touch()
    changes: dict[str, object] = {}

    class Named:
        name = "toy"

    monkeypatch.chdir(toy.here)
    monkeypatch.setattr(opening, "load", lambda variables, here: Request(recipe, (Named(),), whole=True))  # type: ignore[arg-type]
    monkeypatch.setattr(opening, "graph_of", lambda request, verified: graph(recipe, changes))
    for name, value in toy.environment().items():
        monkeypatch.setenv(name, value)

    def command(line: str, **given: object) -> tuple[int, str, str]:
        changes.clear()
        changes.update(given)
        status = run(line.split(), toy.here)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


def test_quiet_prints_the_result_alone(toy: Toy, build: BUILD) -> None:
    status, out, err = build("build -q")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"build/toy: written; {NODES} run" and "play" not in out
    status, out, err = build("build -q", config={"wrong": "user"})
    assert status == 1 and err == "error: config: the toy says no\n" and out == "nothing was built\n"


def test_verbose_prints_what_stages_write_to_their_logs(build: BUILD) -> None:
    status, out, _ = build("build -v")
    assert status == 0 and out.count("trace:a: on its way\n") == 1


def test_a_log_has_all_that_is_printed(toy: Toy, build: BUILD) -> None:
    status, out, _ = build("build log=a.log")
    assert status == 0 and (toy.here / "a.log").read_text() == out and f"{NODES} run" in out
    status, out, err = build("build -q --log a.log", config={"wrong": "user"})
    text = (toy.here / "a.log").read_text()
    assert status == 1 and err in text and out in text and "config: play config" in text
    status, _, err = build("build log=missing/a.log")
    assert (
        status == 3 and err == f"error: log={toy.here}/missing/a.log: can't be written to (No such file or directory)\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no disk that is always full")
def test_a_log_that_takes_nothing_keeps_no_build_from_going_on(toy: Toy, build: BUILD) -> None:
    status, out, err = build("build log=/dev/full")
    lost = "log=/dev/full: can't be written to (No space left on device); all else was done as if it could"
    assert (status, err) == (1, f"error: {lost}\n") and out.splitlines()[-1] == f"build/toy: written; {NODES} run"
    status, out, err = build("build -q log=/dev/full --json")
    assert status == 1 and lost in out and '"status": 1' in out and (toy.results / "x/manifest.json").exists()
    status, out, err = build("build log=/dev/full", config={"wrong": "user"})
    assert status == 1 and err.splitlines()[0] == "error: config: the toy says no" and "Traceback" not in err


def test_json_leaves_the_standard_output_to_the_document(build: BUILD) -> None:
    status, out, err = build("build --json")
    assert status == 0 and out.startswith("{") and "config: play config" in err
    status, out, err = build("build --json -q", config={"wrong": "user"})
    assert '"message": "config: the toy says no"' in out and err == "error: config: the toy says no\n"


def test_results_go_where_they_are_wanted(toy: Toy, build: BUILD) -> None:
    status, out, _ = build("build out=App/Models")
    assert status == 0 and out.splitlines()[-1] == f"App/Models: written; {NODES} run"
    assert (toy.here / "App/Models/x/manifest.json").exists() and not (toy.here / "build").exists()
    assert build("build out=App/Models")[1].splitlines()[-1] == f"App/Models: up to date; {NODES} reused"
    assert build("build")[1].splitlines()[-1] == f"build/toy: written; {NODES} reused"


def test_files_of_somebody_else_are_not_replaced(toy: Toy, build: BUILD) -> None:
    mine = toy.here / "App/x/Resources/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.touch()
    status, out, err = build("build -q out=App")
    assert (status, out) == (1, "nothing was built\n") and mine.exists()
    assert err == (
        f"error: {toy.here}/App/x has Resources that sdbuild did not write, and would be replaced: name another folder "
        "with out=, or move them away\n"
    )
    assert build("build")[0] == 0
    assert build("build out=App")[0] == 1 and mine.exists()
    status, _, err = build(f"build out={toy.store}/artifacts")
    assert status == 3 and "is in the store, which only sdbuild writes to" in err
