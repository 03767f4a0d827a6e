"""Stage processes: started, listened to, and ended when the build is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sdbuild.errors import UserError
from sdbuild.store import Lock, Workplace

News = Callable[[int, int, str], None]
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a stage process ended."""

    status: int
    """0, an exit status, or the negative number of the signal that killed it."""
    error: UserError | None
    """What it had to say to the user."""
    damaged: str | None = None
    """What is damaged of its inputs, which are condemned."""


class _Running:
    """All stage processes of this one, to be ended together."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the handler of a signal may interrupt its holder
        self._processes: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def start(self, *args: Any, **kwargs: Any) -> subprocess.Popen[str]:
        with self._lock:
            if self.stopped:
                raise SystemExit
            process = subprocess.Popen(*args, **kwargs)
            self._processes.add(process)
            return process

    def ended(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._processes.discard(process)

    def stop(self) -> None:
        """End every process with its children, and start no more."""
        with self._lock:
            self.stopped = True
            for process in self._processes:
                _kill(process)


RUNNING = _Running()


def run_stage(
    job: Mapping[str, Any],
    work: Workplace,
    locks: tuple[Lock, ...],
    environment: Mapping[str, str],
    news: News,
    warn: Warn,
) -> Outcome:
    """Run a job in a process of its own and wait for it.

    The process shares ``locks``: should this one be killed, they are free only when that one is gone too.
    """
    work.job.write_text(json.dumps(job), encoding="utf-8")
    read_end, write_end = (
        os.pipe()
    )  # nothing is written: when this process ends, so does the pipe, and so does the stage
    try:
        with work.log.open("w", encoding="utf-8") as log:
            process = RUNNING.start(
                [sys.executable, "-P", "-m", "sdbuild.stages", str(work.job)],
                stdin=read_end,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
                encoding="utf-8",
                pass_fds=[lock.descriptor for lock in locks],
                start_new_session=True,
            )
        os.close(read_end)
        read_end = -1
        try:
            error, damaged = _listen(process, news, warn)
            return Outcome(process.wait(), error, damaged)
        finally:
            if process.poll() is None:
                _kill(process)
                process.wait()
            RUNNING.ended(process)
    finally:
        for end in (read_end, write_end):
            if end >= 0:
                os.close(end)


def _listen(process: subprocess.Popen[str], news: News, warn: Warn) -> tuple[UserError | None, str | None]:
    """Pass on the news of a process until it closes its end; what it reports as an error and as damaged, if it does."""
    error = damaged = None
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:  # cut short: it was killed while writing
                continue
            if "progress" in message:
                news(*message["progress"])
            if "warning" in message:
                warn(message["warning"])
            if "error" in message:
                error = UserError(message["error"], status=message["status"])
            damaged = message.get("damaged", damaged)
    return error, damaged


def _kill(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
