"""Stores that are read-only for whoever builds, and stores of a group."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdbuild.engine.request import graph_of, load
from sdbuild.store import Store, StoreError, collect, open_store
from tests.engine.conftest import ROOT, Toy
from tests.engine.fakes import pretend_to_build
from tests.engine.test_commands import RECIPE
from tests.engine.toy import NODES

FIRST, SECOND, GROUP = 4711, 4712, 4713


def as_user(number: int, umask: str = "022") -> tuple[str, ...]:
    """Run as this user, who is of the group GROUP, too. It may read and look through everything, as Python may be installed
    in root's own folder, and write only where permissions let it."""
    who = (f"--reuid={number}", f"--regid={number}", f"--groups={GROUP}")
    reads = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
    return (
        "setpriv",
        *who,
        *reads,
        "--bounding-set=-all,+dac_read_search",
        "sh",
        "-c",
        f'umask {umask}; exec "$@"',
        "sh",
    )


def _can_be_others() -> bool:
    if os.geteuid() or not shutil.which("setpriv"):
        return False
    return subprocess.run([*as_user(FIRST), "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _can_be_others(), reason="needs root and setpriv, to run as other users")


def give(folder: Path, user: int, group: int = -1) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, group)


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_mode) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The store after a build by root, used long ago."""
    with pytest.MonkeyPatch.context() as patch:
        toy = Toy(tmp_path_factory.mktemp("finished"), patch)
        assert toy.run() == 0
        for path in toy.store.rglob("*.json"):
            os.utime(path, (1e9, 1e9))
        yield toy.store


@pytest.fixture
def built(toy: Toy, finished: Path) -> Toy:
    """That store for anybody to read; the user FIRST has the folder to build in."""
    shutil.copytree(finished, toy.store)
    toy.store.chmod(0o755)
    give(toy.here, FIRST)
    return toy


@pytest.mark.parametrize("without", [(), ("locks", "builds")])
def test_a_store_that_may_only_be_read_serves_what_it_has(built: Toy, without: tuple[str, ...]) -> None:
    for name in without:
        shutil.rmtree(built.store / name)
    before = contents(built.store)
    for _ in range(2):
        done = built.build(prefix=as_user(FIRST))
        assert (done.returncode, done.stderr) == (0, "")
        assert (built.results / "x/manifest.json").is_file()
        assert [path.name for path in (built.here / "build").iterdir()] == ["toy"]
    assert built.ran() == [] and contents(built.store) == before


def test_what_has_to_be_made_there_ends_in_one_line(built: Toy) -> None:
    before = contents(built.store)
    for words in ((), ("-n", "2")):
        failed = built.build(*words, prefix=as_user(FIRST), changes={"compress:a": {"text": "other"}})
        assert failed.returncode == 1
        assert failed.stderr == (
            f"error: not all that is asked for is in the store {built.store} (`doit plan` shows what is missing), and it is "
            "read-only, or this user has no permission to write there: give it to this user, or set SDBUILD_STORE to a folder "
            "of your own\n"
        )
    assert built.ran() == [] and contents(built.store) == before


def test_nothing_can_be_removed_from_a_store_of_others(built: Toy) -> None:
    before = contents(built.store)
    failed = subprocess.run(
        [*as_user(FIRST), sys.executable, "-m", "sdbuild", "gc", "older=0d"],
        cwd=built.here,
        env=os.environ | {"SDBUILD_STORE": str(built.store), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert failed.stderr == (
        f"error: nothing can be removed from the store {built.store}: it is read-only, or this user has no permission to write "
        "there: give it to this user, or set SDBUILD_STORE to a folder of your own\n"
    )
    assert contents(built.store) == before


HOLD = """
import sys
from pathlib import Path
from sdbuild.store import Store
with Store(Path(sys.argv[1])).in_use():
    print("held", flush=True)
    input()
"""


def test_the_owner_removes_nothing_while_another_only_reads(built: Toy) -> None:
    """The store's lock is taken where it lies there already, though this user can't write it."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    reader = subprocess.Popen([*as_user(FIRST), sys.executable, "-c", HOLD, str(built.store)], cwd=ROOT, **streams)
    assert reader.stdout is not None and reader.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match="a build is running"):
        collect(Store(built.store), older=0, dry=False)
    reader.communicate("\n")
    assert reader.returncode == 0
    assert collect(Store(built.store), older=0, dry=False).needed == NODES


def test_plan_why_and_validate_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine.yaml").write_text(RECIPE)
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pretend_to_build(graph_of(load({"config": "mine"}, here)), open_store(), here)
    (tmp_path / "store").chmod(0o755)
    before = contents(tmp_path / "store")
    for words, status, said in (
        (["plan"], 0, "0 of 15 tasks would run"),
        (["why", "task=bundle"], 0, "bundle: up to date"),
        (["validate"], 0, "valid, 1 build"),
        (["build"], 0, "15 reused"),
    ):
        command = [
            *as_user(FIRST),
            sys.executable,
            "-c",
            "from sdbuild.engine.cli import main; main()",
            *words,
            "config=mine",
        ]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (status, "") and said in done.stdout
    assert contents(tmp_path / "store") == before


def test_users_of_a_group_share_a_store(toy: Toy) -> None:
    toy.store.mkdir()
    os.chown(toy.store, FIRST, GROUP)
    toy.store.chmod(0o2770)
    toy.log.touch()
    toy.log.chmod(0o666)
    give(toy.here, SECOND)
    refused = toy.build("trace:a", prefix=as_user(SECOND, "002"), SDBUILD_STORE_SHARED="")
    assert refused.stderr.startswith(f"error: {toy.store} belongs to the user number {FIRST}, ")
    for user, changes, ran in (
        (FIRST, {}, ["config", "trace:a"]),
        (SECOND, {"trace:a": {"text": "other"}}, ["trace:a"]),
    ):
        give(toy.here, user)
        done = toy.build("trace:a", prefix=as_user(user, "002"), changes=changes, SDBUILD_STORE_SHARED="1")
        assert (done.returncode, done.stderr) == (0, "")
        assert toy.log.read_text().split() == ran
        toy.log.write_text("")
    for path in toy.store.rglob("*"):
        found = path.stat()
        made = path.relative_to(toy.store).parts[3:] and path.is_file()  # a file of an artifact, which nobody may write
        assert found.st_gid == GROUP and bool(found.st_mode & stat.S_IWGRP) != bool(made), path
    (toy.here / "toy.yaml").unlink()
    command = "from sdbuild.engine.cli import main; main()"
    done = subprocess.run(
        [*as_user(SECOND, "002"), sys.executable, "-c", command, "gc", "older=0d"],
        cwd=ROOT,
        env=toy.environment(SDBUILD_STORE_SHARED="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "") and "3 artifacts" in done.stdout
    assert not list(toy.store.glob("artifacts/*/*"))
