"""Run one stage: ``python -m sdbuild.stages JOB``, JOB being the file that the engine wrote.

Standard input: while it is a pipe, its end means that the build was stopped or killed, and this process ends too.
Standard output: a line of JSON for each piece of news, and for the outcome. Everything that stage code or libraries print
goes to standard error.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import signal
import stat
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from sdbuild.digests import written
from sdbuild.errors import NO_MEMORY, Status, UserError, tells_of_no_memory
from sdbuild.job import decode
from sdbuild.stages import Place
from sdbuild.stages.inputs import DamagedInputError, Inputs
from sdbuild.store import Stamp, Store, Workplace, explain

_NEWS_INTERVAL = 0.1  # seconds


def main(job_file: str) -> int:
    """Run the job; 0 when its artifact is in the store, 1 after telling the user why not. A bug leaves a traceback."""
    news = _News()
    if stat.S_ISFIFO(os.fstat(0).st_mode):  # not run by hand
        end_with(0)
    started = time.monotonic()
    job = json.loads(Path(job_file).read_bytes())
    store = Store(Path(job["store"]))
    work = Workplace(store.root, job["key"])
    try:
        inputs = Inputs(store, job)
        try:
            _run(job, work, news)
        finally:  # whatever came of it: of damaged inputs nothing that it says counts
            inputs.check()
        _commit(job, inputs, store, work, time.monotonic() - started)
    except DamagedInputError as error:
        news.send(damaged=str(error))
        return 1
    except UserError as error:
        news.send(error=str(error), status=error.status)
        return 1
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        clear = NO_MEMORY if _lacks_memory(error) else isinstance(error, OSError) and explain(error, store.root)
        if not clear:
            raise
        traceback.print_exc()
        news.send(error=str(clear), status=Status.FAILED)
        return 1
    return 0


def _lacks_memory(error: BaseException | None) -> bool:
    """Python and NumPy have an error for it, the system a number, torch and starting a thread only words.

    Libraries that load their parts late have another error around it.
    """
    if error is None:
        return False
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    words = isinstance(error, RuntimeError | ImportError) and tells_of_no_memory(str(error))
    return words or _lacks_memory(error.__cause__)


def _run(job: dict[str, Any], work: Workplace, news: _News) -> None:
    run = importlib.import_module(job["code"]).run
    module, name = job["declaration"]
    given = decode(getattr(importlib.import_module(module), name), job["job"])
    run(given, Place(work.output, work.scratch, news.progress, lambda text: news.send(warning=text)))


def _commit(job: dict[str, Any], inputs: Inputs, store: Store, work: Workplace, seconds: float) -> None:
    work.seal()
    known = written()
    for artifact in inputs.artifacts:
        known.update(artifact.known_digests())
    stamp = Stamp.of(
        work.output,
        known,
        stage=job["stage"],
        key=job["key"],
        ingredients=job["ingredients"],
        seconds=round(seconds, 3),
        peak_bytes=_peak_bytes(),
        made_for=job["made_for"],
    )
    store.commit(work, stamp)
    work.remove(scratch=True)


class _News:
    """The way to the engine: the process's own standard output, which it takes from everybody else."""

    def __init__(self) -> None:
        self._channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
        os.dup2(2, 1)
        for stream in (sys.stdout, sys.stderr):  # what is printed goes to a log, whatever the locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
        self._last = 0.0

    def send(self, **message: object) -> None:
        self._channel.write(json.dumps(message) + "\n")

    def progress(self, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if now - self._last >= _NEWS_INTERVAL or done >= total:
            self._last = now
            self.send(progress=[done, total, unit])


def end_with(descriptor: int) -> None:
    """End this process and its children as soon as nobody holds the other end of a pipe."""

    def watch() -> None:
        os.read(descriptor, 1)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def leave(status: int) -> NoReturn:
    """End this process without what Python does on its way out.

    It would take every object apart, which takes a while after an import of torch, and in a fork writes to, and so
    copies, all that is shared with the server: for a moment the same memory would be held twice.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _peak_bytes() -> int:
    usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return usage if sys.platform == "darwin" else usage * 1024


if __name__ == "__main__":
    leave(main(sys.argv[1]))
