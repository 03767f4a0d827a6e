"""Run a command and watch it: wall time, and the most memory that it and its children held at once."""

import os
import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
_INTERVAL = 0.05  # seconds between looks, at least
_SHARE = 20  # and so many times what a look takes


@dataclass(frozen=True)
class Run:
    """What was seen.

    ``peak`` is the largest sum of proportional set sizes, in bytes: resident memory, pages of mapped files included, in which
    what several processes share counts once.
    """

    seconds: float
    peak: int
    output: str

    def row(self) -> str:
        """Two cells of a table."""
        return f"{self.seconds:.1f} s | {self.peak / GIB:.2f} GiB"


def run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    limit: int | None = None,
    folder: Path | None = None,
    good: Sequence[int] = (0,),
) -> Run:
    """Run to the end; output of both streams is kept. ``good`` are the exit statuses of success.

    ``limit``, in bytes: on the private memory of every process (RLIMIT_DATA), which they can't exceed.

    Raises:
        RuntimeError: it failed; the message has its output.
    """

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    start = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
        preexec_fn=restrict,
        cwd=folder,
    )
    peak, done = [0], threading.Event()

    def watch() -> None:
        pause = _INTERVAL
        while not done.wait(pause):
            looked = time.thread_time()
            peak[0] = max(peak[0], sum(_memory(each) for each in _family(process.pid)))
            # To look at gibibytes takes tens of milliseconds, which whoever is measured has to wait for.
            pause = max(_INTERVAL, _SHARE * (time.thread_time() - looked))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    done.set()
    watcher.join()
    if process.returncode not in good:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Run(time.monotonic() - start, peak[0], output)


def _family(root: int) -> list[int]:
    """A process and all below it."""
    found, pending = [], [root]
    while pending:
        found.append(pending.pop())
        with suppress(OSError):  # it has ended
            for thread in list(Path(f"/proc/{found[-1]}/task").iterdir()):
                with suppress(OSError):
                    pending += map(int, (thread / "children").read_text().split())
    return found


def _memory(process: int) -> int:
    """A process's share of the memory that it has a part in (proc_pid_smaps(5): Pss), in bytes."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)
