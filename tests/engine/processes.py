"""What runs for a build, as the system lists it."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

INTERRUPTED = "interrupted; what is done is kept: the same command goes on from there\n"


@dataclass(frozen=True)
class _Process:
    pid: int
    parent: int
    session: int
    command: str


def _below(build: int) -> list[_Process]:
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,sid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split(maxsplit=3) for line in listed.splitlines())
    every = [_Process(*map(int, row[:3]), row[3]) for row in rows if len(row) == 4]
    found = [process for process in every if process.parent == build]
    for process in found:  # which grows meanwhile
        found += [child for child in every if child.parent == process.pid]
    return found


def descendants(build: int) -> list[int]:
    """Every process that a build started, directly or not."""
    return [process.pid for process in _below(build)]


def stages(build: int) -> list[int]:
    """Its stages: each leads a session."""
    found = [process for process in _below(build) if process.pid == process.session]
    return [
        process.pid for process in found if process.parent != build or "sdbuild.stages.server" not in process.command
    ]


def servers(build: int) -> list[int]:
    """Its servers, the root first."""
    found = [process for process in _below(build) if "sdbuild.stages.server" in process.command]
    return [process.pid for process in found if process.pid not in stages(build)]


def alive(pid: int) -> bool:
    """Not ended, nor a zombie."""
    return state(pid)[:1] not in ("", "Z")


def state(pid: int) -> str:
    """As ``ps`` writes it."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()


def number_in(path: Path) -> int:
    """Wait for a file with a number."""
    wait_for(lambda: path.exists() and path.read_text().strip() != "")
    return int(path.read_text())


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds, which it must soon."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
