"""Disks and folders that are no good: one line each, and nothing half-made in the way."""

import os
import shutil
import subprocess

import pytest

from tests.engine.conftest import Toy

_SMALL_DISK = 'mount -t tmpfs -o size="$0" none "$1" && shift && exec "$@"'


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
    assert failed.stderr.startswith(f"error: {toy.store}") and "no permission" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_results_that_cant_be_written(toy: Toy) -> None:
    (toy.here / "build").write_text("a file")
    failed = toy.build()
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: the results can't be written: ") and "Traceback" not in failed.stderr
