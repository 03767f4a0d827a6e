"""Servers that fork stages: what a stage finds in its process, and what becomes of a build when they fail."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbuild import jobs
from sdbuild.engine.environment import stage_environment
from sdbuild.engine.servers import COLD, Kind, Servers
from tests.digests import tree_digest
from tests.engine.conftest import Toy
from tests.engine.processes import INTERRUPTED, alive, descendants, number_in, servers, stages, state, wait_for

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="stages are forked on Linux alone")
OPENING = "tests.engine.toy_slow"


def test_a_forked_stage_finds_what_a_new_process_would(toy: Toy, tmp_path: Path) -> None:
    forked, new = (_seen(toy, tmp_path / name, **extra) for name, extra in (("forked", {}), ("new", {COLD: "1"})))
    assert forked.pop("parent") != new.pop("parent")
    del new["environment"][COLD]
    assert forked["files"].count("KEY") == 1 and "socket" not in forked["files"]
    assert forked.pop("files") == sorted([*new.pop("files"), "pipe"])  # which ends with its server
    assert forked == new
    assert forked["session"] and forked["collects"]


def _seen(toy: Toy, place: Path, **extra: str) -> dict[str, Any]:
    place.mkdir()
    seen = place / "seen"
    toy.store = place / "store"
    built = toy.build(changes={"convert:a": {"seen": str(seen)}}, **extra)
    assert built.returncode == 0, built.stderr
    found: dict[str, Any] = json.loads(seen.read_text())
    for name in ("TOY", "SDBUILD_STORE"):
        del found["environment"][name]
    return found


def test_only_a_stage_that_fetches_is_forked_with_the_token(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    offline, online = tmp_path / "offline", tmp_path / "online"
    changes = {"trace:a": {"seen": str(offline)}, "config": {"seen": str(online), "fetches": True}}
    assert toy.run(changes=changes) == 0
    found = {path: json.loads(path.read_text())["environment"] for path in (offline, online)}
    assert "HF_TOKEN" not in found[offline] and found[offline]["HF_HUB_OFFLINE"] == "1"
    assert found[online]["HF_TOKEN"] == "secret" and "HF_HUB_OFFLINE" not in found[online]


def test_the_tasks_of_a_stage_share_a_server_unless_every_one_is_to_be_a_new_process(toy: Toy, tmp_path: Path) -> None:
    changes = {name: {"seen": str(tmp_path / name[:5])} for name in ("trace:a", "convert:a")}
    parents = []
    for extra in ({}, {COLD: "1"}):
        with_changes = changes | {"*": {"text": str(extra)}}
        build = toy.start(changes=with_changes, **extra)
        build.communicate()
        found = [json.loads((tmp_path / name[:5]).read_text())["parent"] for name in changes]
        assert found[0] == found[1]
        parents.append(found[0] == build.pid)
    assert parents == [False, True]


@pytest.mark.parametrize("extra", [{}, {COLD: "1"}])
def test_a_stage_that_is_done_ends_without_taking_apart_what_it_imported(
    toy: Toy, tmp_path: Path, extra: dict[str, str]
) -> None:
    taken_apart = tmp_path / "taken apart"
    assert toy.build(TOY_EXIT=str(taken_apart), **extra).returncode == 0
    assert not taken_apart.exists()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_stage_whose_server_dies_is_started_as_a_new_process(
    toy: Toy, make_toy: Callable[[str], Toy], tmp_path: Path, jobs: str
) -> None:
    undisturbed = make_toy("undisturbed")
    assert undisturbed.build().returncode == 0
    seen = tmp_path / "seen"
    build = toy.start("-n", jobs, "build", changes={"convert:a": {"wrong": "orphan"}, "bundle@x": {"seen": str(seen)}})
    output, error = build.communicate(timeout=60)
    assert (build.returncode, error) == (0, "")
    assert json.loads(seen.read_text())["parent"] == build.pid  # and so are all that follow
    assert output.count("convert:a: ") == 2  # its beginning and its end
    assert tree_digest(toy.results) == tree_digest(undisturbed.results)


def test_a_build_whose_servers_are_all_killed_goes_on(toy: Toy, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    build = toy.start(changes={"convert:a": {"wrong": "child", "pid": str(pid), "once": True}})
    child = number_in(pid)
    (stage,) = stages(build.pid)
    for server in servers(build.pid):
        os.kill(server, signal.SIGKILL)
    _, error = build.communicate(timeout=60)
    assert (build.returncode, error) == (0, "")
    assert not alive(stage) and not alive(child)


@pytest.mark.parametrize("trouble", ["TOY_THREAD", "TOY_ERROR"])
def test_where_a_stage_can_not_be_forked_it_is_started(toy: Toy, tmp_path: Path, trouble: str) -> None:
    seen = tmp_path / "seen"
    build = toy.start(changes={"convert:a": {"code": OPENING, "seen": str(seen)}}, **{trouble: "1"})
    _, error = build.communicate(timeout=60)
    assert (build.returncode, error) == (0, "")
    assert json.loads(seen.read_text())["parent"] == build.pid


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("stopped", [False, True])
def test_an_interrupt_does_not_wait_for_a_server(toy: Toy, tmp_path: Path, jobs: str, stopped: bool) -> None:
    importing = tmp_path / "importing"
    build = toy.start("-n", jobs, "build", changes={"convert:a": {"code": OPENING}}, TOY_IMPORTING=str(importing))
    server = number_in(importing)
    if stopped:
        os.kill(server, signal.SIGSTOP)
        wait_for(lambda: state(server).startswith("T"))
    started = descendants(build.pid)
    build.send_signal(signal.SIGINT)
    _, error = build.communicate(timeout=10)
    assert (build.returncode, error) == (130, INTERRUPTED)
    wait_for(lambda: not any(map(alive, started)))


def test_a_server_imports_while_the_stage_before_it_runs_and_ends_when_no_stage_needs_it(
    toy: Toy, tmp_path: Path
) -> None:
    importing, pid = tmp_path / "importing", tmp_path / "pid"
    changes = {"compress:a": {"code": OPENING}, "convert:a": {"wrong": "child", "pid": str(pid)}}
    build = toy.start(changes=changes, TOY_IMPORTING=str(importing))
    number_in(pid)
    ahead = number_in(importing)
    assert ahead in servers(build.pid)
    build.send_signal(signal.SIGINT)
    build.communicate(timeout=10)
    wait_for(lambda: not alive(ahead))

    seen = tmp_path / "seen"
    changes = {
        "config": {"code": OPENING},
        "trace:a": {"code": OPENING},
        "convert:a": {"wrong": "child", "pid": str(seen)},
    }
    build = toy.start(changes=changes)
    number_in(seen)
    assert len(servers(build.pid)) == 2  # the root, and that of the stages that are left
    build.send_signal(signal.SIGINT)
    build.communicate(timeout=10)


def test_a_build_with_nothing_to_do_starts_no_server(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy.run() == 0
    monkeypatch.setattr(Servers, "expect", None)
    monkeypatch.setattr(Servers, "fork", None)
    assert toy.run() == 0


def test_a_server_warms_up_once(toy: Toy, tmp_path: Path) -> None:
    warm, seen = tmp_path / "warm", tmp_path / "seen"
    changes = {"config": {"code": OPENING}, "trace:a": {"code": OPENING, "seen": str(seen)}}
    assert toy.build("trace:a", changes=changes, TOY_WARM=str(warm)).returncode == 0
    assert warm.read_text() == f"{json.loads(seen.read_text())['parent']}\n"


@pytest.mark.slow
def test_every_stage_there_is_can_be_forked(tmp_path: Path) -> None:
    environments = {online: stage_environment(1, online=online) for online in (False, True)}
    running = Servers(environments)
    kinds = [Kind(f"sdbuild.stages.{name}", online=False) for name in jobs.names()]
    with (tmp_path / "log").open("wb") as log:
        for kind in kinds:
            running.expect([kind])
            process = running.fork(kind, str(tmp_path / "no job"), [log.fileno()] * 3)
            assert process is not None
            process.await_start()  # which would raise where importing fails or starts a thread
            assert process.wait() == 1
            process.close()
    running.close()
