"""Builds that are killed, interrupted or run at once."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sdbuild.engine.servers import COLD
from sdbuild.store import Lock
from tests.digests import tree_digest
from tests.engine.conftest import ROOT, Toy
from tests.engine.processes import INTERRUPTED, alive, descendants, number_in, stages, state, wait_for
from tests.engine.toy import NODES

KILLS = 14
both_ways = pytest.mark.parametrize("starts", [{}, {COLD: "1"}], ids=["forked", "new"])
"""How stages may begin."""


def test_kills_at_random_moments_cost_nothing_but_time(make_toy: Callable[[str], Toy]) -> None:
    undisturbed, killed = make_toy("undisturbed"), make_toy("killed")
    started = time.monotonic()
    assert undisturbed.build("-n", "2").returncode == 0
    duration = time.monotonic() - started
    moments = random.Random(0)
    for number in range(KILLS):
        build = killed.start("-n", "2", "build")
        time.sleep(moments.uniform(0.1, 0.7) * duration)
        if number % 2:
            build.kill()
        else:
            _kill_something(build.pid, moments)
        build.communicate()
        finished = build.returncode == 0
        if finished:
            assert tree_digest(killed.results) == tree_digest(undisturbed.results)
        if finished or number == KILLS // 2:  # begin anew
            subprocess.run(["rm", "-rf", killed.store, killed.results], check=True)
    assert killed.build().returncode == 0
    assert tree_digest(killed.results) == tree_digest(undisturbed.results)
    assert _artifacts(killed) == _artifacts(undisturbed)
    assert not any((killed.store / "work").iterdir())


def _kill_something(build: int, moments: random.Random) -> None:
    """A stage, or a server that forks them."""
    if found := descendants(build):
        with suppress(ProcessLookupError):
            os.kill(moments.choice(found), signal.SIGKILL)


def _artifacts(toy: Toy) -> list[tuple[str, str]]:
    folders = (path for path in toy.store.glob("artifacts/*/*") if path.is_dir())
    return sorted((f"{path.parent.name}/{path.name}", tree_digest(path)) for path in folders)


def test_two_builds_at_once_share_the_work(make_toy: Callable[[str], Toy]) -> None:
    first, second = make_toy("first"), make_toy("second")
    second.store, second.log = first.store, first.log
    builds = [toy.start("-n", "2", "build", changes={"*": {"sleep": 0.1}}) for toy in (first, second)]
    outputs = [build.communicate() for build in builds]
    assert [build.returncode for build in builds] == [0, 0], outputs
    ran = first.ran()
    assert len(ran) == NODES and len(set(ran)) == NODES
    assert tree_digest(first.results) == tree_digest(second.results)


def test_the_same_bytes_whatever_the_folder_the_hash_seed_and_the_number_at_once(
    make_toy: Callable[[str], Toy],
) -> None:
    builds = {jobs: make_toy(f"with-{jobs}") for jobs in ("1", "2", "4")}
    for jobs, toy in builds.items():
        assert toy.build("-n", jobs, PYTHONHASHSEED=jobs).returncode == 0
    assert len({tree_digest(toy.results) for toy in builds.values()}) == 1
    assert len({tuple(_artifacts(toy)) for toy in builds.values()}) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("jobs", ["1", "2"])
@both_ways
def test_an_interrupt_ends_the_stages_and_their_children_in_one_line(
    toy: Toy, tmp_path: Path, number: int, jobs: str, starts: dict[str, str]
) -> None:
    pid = tmp_path / "pid"
    build = toy.start("-n", jobs, "build", changes={"convert:a": {"wrong": "child", "pid": str(pid)}}, **starts)
    child = number_in(pid)
    build.send_signal(number)
    _, error = build.communicate(timeout=30)
    assert (build.returncode, error) == (128 + number, INTERRUPTED)
    wait_for(lambda: not alive(child))
    assert toy.build().returncode == 0


@both_ways
def test_stages_and_servers_end_when_doit_is_killed(toy: Toy, tmp_path: Path, starts: dict[str, str]) -> None:
    pid = tmp_path / "pid"
    build = toy.start(changes={"convert:a": {"wrong": "child", "pid": str(pid)}}, **starts)
    child = number_in(pid)
    started = descendants(build.pid)
    assert child in started
    build.kill()
    build.communicate()
    wait_for(lambda: not any(map(alive, started)))
    assert any((toy.store / "work").iterdir())
    assert toy.run("config") == 0
    assert not any((toy.store / "work").iterdir())


@both_ways
def test_a_stage_that_outlives_doit_keeps_its_lock(toy: Toy, tmp_path: Path, starts: dict[str, str]) -> None:
    pid = tmp_path / "pid"
    build = toy.start(changes={"convert:a": {"wrong": "child", "pid": str(pid)}}, **starts)
    number_in(pid)
    (stage,) = stages(build.pid)
    os.kill(stage, signal.SIGSTOP)
    wait_for(lambda: state(stage).startswith("T"))  # until then its watching thread may still end it
    build.kill()
    build.communicate()
    locks = [path for path in (toy.store / "locks").iterdir() if path.name != "store"]
    assert [Lock.try_take(path) for path in locks] == [None]
    os.killpg(stage, signal.SIGKILL)
    wait_for(lambda: not alive(stage))
    with Lock.take(locks[0]):
        assert toy.run("config") == 0


@pytest.mark.parametrize("line", [["check"], ["gc"]])
def test_another_command_says_that_it_was_interrupted(tmp_path: Path, line: list[str]) -> None:
    code = "import os, signal, sys, sdbuild.store.artifacts as a, sdbuild.engine.cli as cli\n"
    code += "a.Store.in_use = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT) or signal.pause()\n"
    code += f"import sdbuild.store.garbage as g; g._collect = a.Store.in_use\nsys.argv[1:] = {line}; cli.main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SDBUILD_STORE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
