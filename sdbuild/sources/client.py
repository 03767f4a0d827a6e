"""Requests to the hub: through its own library's session, patient with passing trouble, sparing with the token.

The library's downloader is not used: since version 2 it drops what it has when a download breaks off or its process ends.
Here huggingface_hub gives the session (proxies, certificates, offline mode), the token and the meaning of errors.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sdbuild import __version__
from sdbuild.sources.base import SourceError

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds before each new attempt after one that got nothing."""

_PASSING = (408, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 300.0  # the hub counts requests in windows of five minutes


class HubClient:
    """The hub as seen from one process."""

    def __init__(self, endpoint: str | None = None, waits: tuple[float, ...] = WAITS) -> None:
        """Without an endpoint: the hub's own, or what ``HF_ENDPOINT`` says."""
        from huggingface_hub import constants
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()  # its warnings quote what servers send, which may be the token sent to them
        self.endpoint: str = (endpoint or constants.ENDPOINT).rstrip("/")
        self.token_demanded = False
        self._timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        self._waits = waits
        self._token: str | None = None
        self._reached = False

    @property
    def has_token(self) -> bool:
        """Whether a token was demanded and is at hand."""
        return self._token is not None

    @contextmanager
    def get(self, path: str, start: int = 0) -> Iterator[Any]:
        """One request without a second try: the response of ``GET``, its body not yet read.

        ``start`` skips bytes of the body. The first request goes without the token; once a server has demanded one, it is
        sent. Redirects are followed, and the token never goes with them to another host.
        """
        from huggingface_hub.utils import get_session, hf_raise_for_status

        while True:
            headers = {"user-agent": f"sdbuild/{__version__}", "accept-encoding": "identity"}
            if start:
                headers["range"] = f"bytes={start}-"
            if self._token is not None:
                headers["authorization"] = f"Bearer {self._token}"
            options = {"headers": headers, "timeout": self._timeout, "follow_redirects": True}
            with get_session().stream("GET", self.endpoint + path, **options) as response:
                self._reached = True
                if response.status_code not in (401, 403) or not self._take_token():
                    hf_raise_for_status(response)
                    yield response
                    return

    def patiently(self, attempt: Callable[[], T], progress: Callable[[], int] = int) -> T:
        """The result of an attempt, made again after trouble that may pass; `progress` tells whether it got anywhere.

        Raises what the last attempt raised.
        """
        from huggingface_hub.errors import HTTPError

        waits, before = list(self._waits), progress()
        while True:
            try:
                return attempt()
            except HTTPError as error:
                if progress() != before:
                    waits, before = list(self._waits), progress()
                if not waits or not self._may_pass(error):
                    raise
                time.sleep(max(waits.pop(0), _asked_to_wait(error)))

    def _may_pass(self, error: Exception) -> bool:
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils import httpx

        if isinstance(error, HfHubHTTPError):
            return error.response.status_code in _PASSING
        if isinstance(error, httpx.ConnectError):
            return self._reached  # who is offline should hear it at once
        return isinstance(error, httpx.NetworkError | httpx.TimeoutException | httpx.RemoteProtocolError)

    def _take_token(self) -> bool:
        if self.token_demanded:
            return False
        from huggingface_hub import constants, get_token

        self.token_demanded = True
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        if token is not None and not re.fullmatch(r"[\x21-\x7e]+", token):
            raise SourceError(
                "the hub's token holds a blank or a character that no token has: copy it into HF_TOKEN anew"
            )
        self._token = token
        return token is not None


def _asked_to_wait(error: Exception) -> float:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import parse_ratelimit_headers

    if not isinstance(error, HfHubHTTPError):
        return 0.0
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers) if error.response.status_code == 429 else None
    seconds = headers.get("retry-after", "")
    asked = float(limit.reset_in_seconds + 1) if limit else float(seconds) if seconds.isdecimal() else 0.0
    return min(asked, _LONGEST_WAIT)
