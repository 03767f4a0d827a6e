"""Stage processes: started, listened to, and ended when the build is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO, Any, Protocol

from sdbuild.engine.running import RUNNING
from sdbuild.errors import UserError
from sdbuild.store import Lock, Workplace

News = Callable[[int, int, str], None]
Warn = Callable[[str], None]


class LostError(Exception):
    """How a process ends will never be known."""


class Process(Protocol):
    """One that was started for a stage."""

    def await_start(self) -> None:
        """Wait until it runs. Raises LostError."""

    def wait(self) -> int:
        """Its exit status, or the negative number of the signal that ended it. Raises LostError."""

    def kill(self) -> None:
        """End it and its children."""

    def close(self) -> None:
        """Hear no more of it."""


Fork = Callable[[str, Sequence[int]], Process | None]
"""Begins the process for a job's file with descriptors: its standard input, output and error, and others to hold. None where
that does not work."""


@dataclass(frozen=True)
class Outcome:
    """How a stage process ended."""

    status: int
    """0, an exit status, or the negative number of the signal that killed it."""
    error: UserError | None
    """What it had to say to the user."""
    damaged: str | None = None
    """What is damaged of its inputs, which are condemned."""


class _New:
    """A new process of Python, which imports all that it needs."""

    def __init__(self, job: str, descriptors: Sequence[int], environment: Mapping[str, str]) -> None:
        stdin, stdout, stderr, *held = descriptors
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sdbuild.stages", job],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            pass_fds=held,
            start_new_session=True,
        )

    def await_start(self) -> None:
        """It runs."""

    def wait(self) -> int:
        return self._process.wait()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        self._process.wait()


def run_stage(
    job: Mapping[str, Any],
    work: Workplace,
    locks: tuple[Lock, ...],
    environment: Mapping[str, str],
    news: News,
    warn: Warn,
    fork: Fork = lambda job, descriptors: None,
) -> Outcome:
    """Run a job in a process of its own and wait for it.

    The process shares ``locks``: should this one be killed, they are free only when that one is gone too. ``fork`` is tried
    first: it begins a process that has imported what it needs.
    """

    def new(job_file: str, descriptors: Sequence[int]) -> Process:
        return _New(job_file, descriptors, environment)

    try:
        return _run(job, work, locks, news, warn, lambda *given: fork(*given) or new(*given))
    except LostError:
        if RUNNING.stopped:
            raise SystemExit from None
        work.prepare()
        return _run(job, work, locks, news, warn, new)


def _run(
    job: Mapping[str, Any],
    work: Workplace,
    locks: tuple[Lock, ...],
    news: News,
    warn: Warn,
    begin: Callable[[str, Sequence[int]], Process],
) -> Outcome:
    work.job.write_text(json.dumps(job), encoding="utf-8")
    with ExitStack() as stack:
        # Nothing is written into the first: when this process ends, so does the pipe, and so does the stage.
        (stdin, alive), (told, stdout) = _pipe(stack), _pipe(stack)
        log = stack.enter_context(work.log.open("wb"))
        descriptors = [stdin.fileno(), stdout.fileno(), log.fileno(), *(lock.descriptor for lock in locks)]
        process = RUNNING.start(lambda: begin(str(work.job), descriptors))
        try:
            for file in (stdin, stdout, log):
                file.close()
            process.await_start()
            error, damaged = _listen(told, news, warn)
            return Outcome(process.wait(), error, damaged)
        except BaseException:
            process.kill()
            alive.close()
            told.read()  # to the end, which is the process's
            raise
        finally:
            RUNNING.ended(process)
            process.close()


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    reads, writes = os.pipe()
    return stack.enter_context(os.fdopen(reads, "rb")), stack.enter_context(os.fdopen(writes, "wb"))


def _listen(lines: IO[bytes], news: News, warn: Warn) -> tuple[UserError | None, str | None]:
    """Pass on the news of a process until it closes its end; what it reports as an error and as damaged, if it does."""
    error = damaged = None
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
