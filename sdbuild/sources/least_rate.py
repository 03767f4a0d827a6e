"""A least transfer rate: who drips a byte a second, in headers, body or between, is not listened to for ever.

The HTTP library's timeouts are for one wait each and start again with every byte.
"""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any

LEAST_RATE = 1000
"""Bytes a second, over each window."""

WINDOW = 60.0
"""Seconds after which a server that was slower is given up."""


class TooSlowError(Exception):
    """A server sent less than it had to."""


class LeastRate:
    """Watches one transfer, which adds to ``received``; shuts its connections down when too little comes.

    Leaving it raises TooSlowError then, whatever the transfer made of it.
    """

    def __init__(self, connections: "Connections", window: float) -> None:
        """``window`` in seconds."""
        self.received = 0
        self._connections, self._window = connections, window
        self._over = threading.Event()
        self._too_slow = False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "LeastRate":
        """Start to watch."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Watch no longer."""
        self._over.set()
        self._thread.join()
        if self._too_slow:
            raise TooSlowError from None

    def _watch(self) -> None:
        before = 0
        while not self._over.wait(self._window):
            if self.received - before < LEAST_RATE * self._window:
                self._too_slow = True
                self._connections.shut_down()
                return
            before = self.received


class Connections:
    """The sockets that a client has opened, learnt from the HTTP library's trace of a request."""

    def __init__(self) -> None:
        """None yet."""
        self._sockets: list[socket.socket] = []

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """What the library calls with every step of a request (its extension "trace")."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            opened = info["return_value"].get_extra_info("socket")
            self._sockets = [each for each in self._sockets if each.fileno() >= 0] + [opened]

    def shut_down(self) -> None:
        """End all of them. Who waits for one wakes up; nobody else can get its number meanwhile, as after closing it."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
