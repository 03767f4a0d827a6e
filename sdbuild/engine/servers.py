"""Stage processes forked by servers that have imported what they need: see ``sdbuild.stages.server``, the other side."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sdbuild.engine.process import LostError
from sdbuild.engine.running import RUNNING

COLD = "SDBUILD_COLD_STARTS"
"""The variable that has every stage started as a new process."""

_AHEAD = 2
"""Servers for stages that are to run next: one that is in use, one that imports meanwhile."""


_PATIENCE = 5  # seconds


@dataclass(frozen=True)
class Kind:
    """What is common to the stages that a server forks."""

    code: str
    """The module with the stage's ``run``."""
    online: bool
    """Whether it may fetch models: see `stage_environment`."""


class Forked:
    """A process that a server forks."""

    def __init__(
        self,
        server: socket.socket,
        message: Mapping[str, Any],
        descriptors: Sequence[int],
        closed: Callable[[bool], None] = lambda lost: None,
    ) -> None:
        """Ask ``server`` for it. Raises LostError. ``closed`` is called in the end, and told whether the server was lost."""
        self._closed = closed
        self._lost = False
        ours, theirs = os.pipe()
        self._report = os.fdopen(ours, "rb", buffering=0)
        self._rest = b""
        try:
            socket.send_fds(server, [json.dumps(message).encode()], [theirs, *descriptors])
        except OSError:
            self._report.close()
            raise LostError from None
        finally:
            os.close(theirs)
        self.pid: int | None = None

    def await_start(self) -> None:
        """Wait until it runs, which may take as long as the server imports. Raises LostError."""
        self.pid = self._number()

    def wait(self) -> int:
        """Its exit status, or the negative number of the signal that ended it. Raises LostError."""
        return self._number()

    def kill(self) -> None:
        """End it and its children. One that has not begun ends when its standard input does."""
        if self.pid is None:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended, or not yet become the leader of its group
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Hear no more of it."""
        self._report.close()
        self._closed(self._lost)

    def _number(self) -> int:
        while b"\n" not in self._rest:
            read = self._report.read(64)
            if not read:
                self._lost = True
                raise LostError
            self._rest += read
        number, _, self._rest = self._rest.partition(b"\n")
        return int(number)


@dataclass
class _Server:
    """A server of one kind of stage."""

    control: socket.socket
    process: Forked
    in_use: int = 0
    """Stages that it forked and that run."""

    def close(self) -> None:
        """Have it end."""
        self.control.close()
        self.process.close()


class Servers:
    """The servers of one build. Where they can't work every stage is started as a new process, which takes longer."""

    def __init__(self, environments: Mapping[bool, Mapping[str, str]]) -> None:
        """Start none before they are needed; ``environments`` are those of stages that may fetch models, and of the others."""
        self._environments = environments
        self._lock = threading.Lock()
        self._root: tuple[socket.socket, subprocess.Popen[bytes]] | None = None
        self._servers: dict[Kind, _Server] = {}
        self._cold: set[Kind] = set()
        """Kinds whose server did not work."""
        self._broken = bool(os.environ.get(COLD)) or not hasattr(os, "pidfd_open") or sys.platform != "linux"

    def expect(self, kinds: Sequence[Kind]) -> None:
        """Have servers for the first of these, in the order in which stages are to run, and none for what is not among them."""
        with self._lock:
            for kind, server in list(self._servers.items()):
                if kind not in kinds and not server.in_use:
                    del self._servers[kind]
                    server.close()
            for kind in kinds[:_AHEAD]:
                self._started(kind)

    def fork(self, kind: Kind, job: str, descriptors: Sequence[int]) -> Forked | None:
        """Begin a stage with these as standard input, output and error, and to hold; None where that does not work."""
        with self._lock:
            server = self._started(kind)
            if server is None:
                return None
            try:
                process = Forked(server.control, {"job": job}, descriptors, partial(self._ended, kind, server))
            except LostError:
                self._lose(kind, server)
                return None
            server.in_use += 1
            return process

    def kill(self) -> None:
        """End them at once, and start no more."""
        self._broken = True
        if self._root is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._root[1].pid, signal.SIGKILL)

    def close(self) -> None:
        """End them."""
        with self._lock:
            self._broken = True
            for server in self._servers.values():
                server.close()
            self._servers.clear()
            if self._root is not None:
                control, process = self._root
                control.close()  # it ends the others, and itself
                try:
                    process.wait(_PATIENCE)
                except subprocess.TimeoutExpired:  # stopped, say
                    self.kill()
                    process.wait()
                self._root = None
                RUNNING.ended(self)

    def _started(self, kind: Kind) -> _Server | None:
        server = self._servers.get(kind)
        if server is None and kind not in self._cold and not self._broken:
            try:
                server = self._servers[kind] = self._start(kind)
            except (LostError, OSError):
                self._broken = True
        return server

    def _start(self, kind: Kind) -> _Server:
        base = self._environments[False]
        if self._root is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "sdbuild.stages.server", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=base,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self._root = ours, process
            RUNNING.start(lambda: self)
        own = self._environments[kind.online]
        changes: dict[str, str | None] = dict.fromkeys(base.keys() - own.keys())
        changes |= {name: value for name, value in own.items() if base.get(name) != value}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            message = {"stage": kind.code, "environment": changes}
            server = Forked(self._root[0], message, [theirs.fileno()])
        server.await_start()
        return _Server(ours, server)

    def _ended(self, kind: Kind, server: _Server, lost: bool) -> None:
        with self._lock:
            server.in_use -= 1
            if lost:
                self._lose(kind, server)

    def _lose(self, kind: Kind, server: _Server) -> None:
        self._cold.add(kind)
        if self._servers.get(kind) is server:
            del self._servers[kind]
            server.close()
