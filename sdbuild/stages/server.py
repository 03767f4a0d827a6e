"""Processes that have imported what stages need, and fork them: ``python -m sdbuild.stages.server``.

The engine starts one, the root, which forks a server for each kind of stage; that one imports the stage's module, has it `warm`
up what its ``run`` would load late, and forks a process for each of its tasks. Each server is told what to do through a socket:
a message of JSON, with the descriptors it needs, asks for one fork, and the new process's number, and later its exit status,
come back through a pipe of that message's own. So a server that dies is noticed by whoever waits, as the pipe ends.

A fork is safe while there is one thread. Servers start none, and compute nothing in parallel; OpenBLAS, which starts some when
it is loaded, ends them itself when its process forks, and starts others where they are needed. Should there be a thread for
another reason, the server ends, and the engine starts stages without it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from sdbuild.stages.__main__ import end_with, leave, main

_MESSAGE = 1 << 18  # bytes
_DESCRIPTORS = 16  # of one message


def serve(control: socket.socket) -> str:
    """Fork what is asked for; returns in each process that is to run a stage: the job's file.

    A message is ``{"stage": module, "environment": {name: value or null}}`` for a server, whose own socket comes with it, or
    ``{"job": file}`` for a stage, with its standard input, output and error, and locks to hold. The first descriptor of each
    message is the pipe to report to. A server ends when the engine has closed its end of the socket, and takes with it
    the servers that it forked. Stages notice themselves that the engine, or their server, is gone, and end.
    """
    reports: dict[int, int] = {}  # the pidfd of a process → the pipe to report its end to
    numbers: dict[int, int] = {}
    servers: set[int] = set()
    watched, alive = os.pipe()  # nothing is written: it ends with this process
    while True:
        ready, _, _ = select.select([control.fileno(), *reports], [], [])
        for ended in reports.keys() & set(ready):
            _, status = os.waitpid(numbers.pop(ended), 0)
            servers.discard(ended)
            _report(reports.pop(ended), os.waitstatus_to_exitcode(status))
            os.close(ended)
        if control.fileno() not in ready:
            continue
        data, descriptors, _, _ = socket.recv_fds(control, _MESSAGE, _DESCRIPTORS)
        if not data:
            for server in servers:
                signal.pidfd_send_signal(server, signal.SIGKILL)
                os.waitpid(numbers[server], 0)
            os._exit(0)
        message = json.loads(data)
        gc.freeze()  # a collection in a fork would write to, and so copy, what it shares with this one
        number = os.fork()
        if number == 0:
            report, *given = descriptors
            control.close()
            for descriptor in (report, alive, *reports, *reports.values()):
                os.close(descriptor)
            if "job" in message:
                _take_over(given)
                end_with(watched)
                return str(message["job"])
            os.close(watched)
            reports, numbers, servers = {}, {}, set()
            watched, alive = os.pipe()
            control = socket.socket(fileno=given[0])
            _prepare(message)
            continue
        handle = os.pidfd_open(number)
        reports[handle], numbers[handle] = descriptors[0], number
        if "stage" in message:
            servers.add(handle)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        _report(descriptors[0], number, last=False)


def _report(pipe: int, number: int, *, last: bool = True) -> None:
    with suppress(BrokenPipeError):  # the engine is gone, or has given the stage up
        os.write(pipe, b"%d\n" % number)
    if last:
        os.close(pipe)


def _take_over(descriptors: list[int]) -> None:
    """Become what a process is that was started for a stage."""
    os.setsid()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    gc.enable()


def _prepare(message: dict[str, Any]) -> None:
    """Become the server of a stage, or end where that is not safe."""
    for name, value in message["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    try:
        module = importlib.import_module(message["stage"])
        if hasattr(module, "warm"):
            module.warm()
        _end_threads()
    except BaseException:
        os._exit(1)


def _end_threads() -> None:
    """Have libraries that end their threads on a fork do so; raises RuntimeError if there are others."""
    number = os.fork()
    if number == 0:
        os._exit(0)
    os.waitpid(number, 0)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("there is more than one thread")


if __name__ == "__main__":
    gc.disable()  # what is imported stays
    leave(main(serve(socket.socket(fileno=int(sys.argv[1])))))
