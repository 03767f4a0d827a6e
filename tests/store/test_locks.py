"""Locks between processes."""

import subprocess
import sys
import threading
from pathlib import Path

from sdbuild.store import Lock

HOLD = """
import sys, time
from pathlib import Path
from sdbuild.store import Lock
lock = Lock.take(Path(sys.argv[1]), shared=sys.argv[2] == "shared")
print("held", flush=True)
time.sleep(60)
"""


def hold(path: Path, how: str = "alone") -> "subprocess.Popen[str]":
    """A process that holds the lock till it is killed."""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), how], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "locks/key"
    holder = hold(path)
    assert Lock.try_take(path) is None
    end(holder)
    with Lock.take(path):
        assert Lock.try_take(path) is None
    assert not path.exists()


def test_who_waits_says_so_and_gets_it_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "key"
    holder = hold(path)
    waited = []
    timer = threading.Timer(0.2, end, [holder])
    timer.start()
    with Lock.take(path, on_wait=lambda: waited.append(True)):
        assert waited == [True]
    timer.join()


def test_a_lock_whose_file_was_removed_meanwhile_is_not_two_locks(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = Lock.take(path)
    taken: list[Lock] = []
    waiting = threading.Thread(target=lambda: taken.append(Lock.take(path)))
    waiting.start()
    first.release()
    waiting.join(10)
    assert Lock.try_take(path) is None
    taken[0].release()


def test_any_number_share_and_one_alone_has_to_wait(tmp_path: Path) -> None:
    path = tmp_path / "store"
    first, second = hold(path, "shared"), Lock.try_take(path, shared=True)
    assert second is not None
    assert Lock.try_take(path) is None
    second.release()
    assert Lock.try_take(path) is None
    end(first)
    with Lock.take(path):
        assert Lock.try_take(path, shared=True) is None
