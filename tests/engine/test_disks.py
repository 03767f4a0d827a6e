"""Disks and folders that are no good: one line each, and nothing half-made in the way."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.engine.conftest import ROOT, Toy

_SMALL_DISK = 'mount -t tmpfs -o mode=700,size="$0" none "$1" && shift && exec "$@"'


def _mounts() -> bool:
    return _works("unshare", "-rm", "true")


def _works(*command: str) -> bool:
    found = shutil.which(command[0]) is not None
    return found and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _mounts(), reason="needs mount namespaces (unshare -rm)")
def test_a_full_disk_ends_in_one_line_and_leaves_nothing_in_the_way(toy: Toy) -> None:
    toy.store.mkdir()
    both = 'TOY=\'{"trace:a": {"wrong": "full"}}\' "$@"; echo $?; ls -A "$SDBUILD_STORE/work"; "$@" >/dev/null; echo $?'
    on_small_disk = ("unshare", "-rm", "sh", "-c", _SMALL_DISK, "2m", str(toy.store))
    done = toy.build(prefix=(*on_small_disk, "sh", "-c", both, "sh"))
    assert done.stdout.splitlines()[-2:] == ["1", "0"]
    first, *others = done.stderr.splitlines()
    assert first.startswith("error: trace:a: the disk is full: ") and not others


@pytest.mark.skipif(not _mounts(), reason="needs mount namespaces (unshare -rm)")
def test_a_disk_that_takes_no_more_files_is_told_as_such(toy: Toy) -> None:
    toy.store.mkdir()
    few_files = ("unshare", "-rm", "sh", "-c", _SMALL_DISK.replace("size", "nr_inodes"), "25", str(toy.store))
    done = toy.build(prefix=few_files)
    (message,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert "the disk is full: it takes no more files (its inodes are used up) where " in message
    assert "`doit gc older=0d`" in message and "free" not in message


@pytest.mark.skipif(not _mounts(), reason="needs mount namespaces (unshare -rm)")
def test_garbage_can_be_collected_on_a_full_disk(toy: Toy) -> None:
    toy.store.mkdir()
    fill = f"""
import os, sys
from pathlib import Path
from sdbuild.store import Store, Workplace, collect
store = Store(Path({str(toy.store)!r}))
collect(store, older=0, dry=False)
Workplace(store.root, "left").prepare()
try:
    for number in range(1000):
        (store.root / f"file {{number}}").touch()
except OSError:
    print(os.statvfs(store.root).f_favail)
collect(store, older=0, dry=False)
print([path.name for path in store.root.glob("work/*")])
"""
    few_files = ("unshare", "-rm", "sh", "-c", _SMALL_DISK.replace("size", "nr_inodes"), "25", str(toy.store))
    done = subprocess.run(
        [*few_files, sys.executable, "-c", fill], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n[]\n", "")


def test_too_few_open_files_are_told_as_such(toy: Toy) -> None:
    failed = toy.build(prefix=("sh", "-c", 'ulimit -n 10; exec "$@"', "sh"))
    (message,) = failed.stderr.splitlines()
    assert failed.returncode == 1 and message.startswith("error: too many open files: allow this process more of them")


@pytest.mark.parametrize("words", [(), ("-n", "2"), ("-c",)])
def test_a_disk_too_small_is_refused_before_anything_runs(toy: Toy, words: tuple[str, ...]) -> None:
    failed = toy.build(*words, changes={"size": 1 << 50})
    assert (failed.returncode, toy.ran()) == (1, [])
    (message,) = failed.stderr.splitlines()
    assert message.startswith(f"error: the disk is too small: about 10133099.16 GB needed in {toy.store}, ")
    assert not (toy.store / "work").exists()


def test_only_what_is_asked_for_counts(toy: Toy) -> None:
    half = shutil.disk_usage(toy.store.parent).free // 2
    assert toy.build("convert:a", changes={"size": half // 3}).returncode == 0
    assert toy.build(changes={"size": half}).returncode == 1


def test_what_may_be_spared_does_not_count(toy: Toy) -> None:
    """The configuration is read anew, and may well say the same."""
    assert toy.build().returncode == 0
    toy.ran()
    shutil.rmtree(next((toy.store / "artifacts/config").glob("*/")))
    half = shutil.disk_usage(toy.store).free // 2
    assert toy.build(changes={"size": half}).returncode == 0
    assert toy.ran() == ["config"]


@pytest.mark.skipif(not _mounts(), reason="needs mount namespaces (unshare -rm)")
def test_a_read_only_store_serves_what_it_has(toy: Toy) -> None:
    assert toy.build().returncode == 0
    read_only = (
        "unshare",
        "-rm",
        "sh",
        "-c",
        'mount --bind -o ro "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"',
    )
    prefix = (*read_only, str(toy.store))
    assert toy.build(prefix=prefix).returncode == 0
    failed = toy.build(prefix=prefix, changes={"config": {"text": "other"}})
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ") and "read-only" in failed.stderr and len(failed.stderr.splitlines()) == 1


def test_a_store_in_a_wrong_place(toy: Toy) -> None:
    toy.store.write_text("a file")
    failed = toy.build()
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith(f"error: {toy.store}: a file is where a folder should be")
    toy.store = toy.store / "below"
    assert toy.build().stderr.startswith(f"error: {toy.store}: a file is where a folder should be")


def _without_override() -> tuple[str, ...]:
    """What makes root heed permissions."""
    return () if os.getuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


@pytest.mark.skipif(not _works(*_without_override(), "true"), reason="needs setpriv")
@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_a_store_without_permissions(toy: Toy, mode: int) -> None:
    toy.store.mkdir()
    toy.store.chmod(mode)
    try:
        failed = toy.build(prefix=_without_override())
    finally:
        toy.store.chmod(0o700)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ") and f"{toy.store}" in failed.stderr
    assert "no permission" in failed.stderr and "set SDBUILD_STORE to a folder of your own" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_results_that_cant_be_written(toy: Toy) -> None:
    (toy.here / "build").write_text("a file")
    failed = toy.build()
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: the results can't be written: ") and "Traceback" not in failed.stderr
