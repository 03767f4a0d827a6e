"""Requests to the hub: through its own library's session, patient with passing trouble, sparing with the token.

The library's downloader is not used: since version 2 it drops what it has when a download breaks off or its process ends.
Here huggingface_hub gives the session (proxies, certificates, offline mode), the token and the meaning of errors. Of an answer
that is an error or a redirect only the status and a few headers are read: the libraries would read all of its body, however
large, unpack it, and take it for what the hub writes.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sdbuild import __version__
from sdbuild.errors import SourceError
from sdbuild.sources.base import shown
from sdbuild.sources.least_rate import WINDOW, Connections, LeastRate

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds before each new attempt after one that got nothing."""

_PASSING = (408, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 300.0  # the hub counts requests in windows of five minutes
_MOST_REDIRECTS = 10
_LONGEST_HEADER = 1000
_TELLING = ("x-error-code", "x-error-message", "retry-after", "ratelimit", "ratelimit-policy")


class OddAnswerError(Exception):
    """An answer that no hub gives; the text says what is odd about it, and what to do."""


@dataclass(frozen=True)
class Answer:
    """What a server sends with success: ``chunks`` are bytes of the body as they come, each once."""

    status: int
    chunks: Iterator[bytes]
    size: int | None = None
    """Bytes of the body, where the server says it."""

    def read(self, most: int) -> bytes:
        """The whole body. Raises OddAnswerError when it has more than ``most`` bytes."""
        body = bytearray()
        for chunk in self.chunks:
            body += chunk
            if len(body) > most:
                raise OddAnswerError(f"answers with more than {most >> 20} MB where a few are enough; {_LOOK}")
        return bytes(body)


_NO_COOKIES = DefaultCookiePolicy(allowed_domains=())
_LOOK = "check HF_ENDPOINT and the proxy settings"


class HubClient:
    """The hub as seen from one process."""

    def __init__(self, endpoint: str | None = None, waits: tuple[float, ...] = WAITS, window: float = WINDOW) -> None:
        """Without an endpoint: the hub's own, or what ``HF_ENDPOINT`` says. ``window``: see `LeastRate`."""
        from huggingface_hub import constants
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()  # its warnings quote what servers send, which may be the token sent to them
        self.endpoint: str = _checked(endpoint or constants.ENDPOINT)
        self.token_demanded = False
        self._timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        self.window = max(window, self._timeout)
        """Seconds in which too little must come before a server is given up."""
        self._waits = waits
        self._token: str | None = None
        self._reached = False
        self._connections = Connections()

    @property
    def host(self) -> str:
        """The endpoint's, with the port if one is named."""
        return urlsplit(self.endpoint).netloc or self.endpoint

    @property
    def has_token(self) -> bool:
        """Whether a token was demanded and is at hand."""
        return self._token is not None

    @contextmanager
    def get(self, path: str, start: int = 0) -> Iterator[Answer]:
        """One request without a second try: the answer to ``GET``, its body not yet read.

        ``start`` skips bytes of the body. The first request goes without the token; once the hub has demanded one, it is
        sent. Redirects are followed, and the token never goes with them to another host.

        Raises:
            TooSlowError: while waiting for headers, or reading the body within the context.
            OddAnswerError: a body that is packed, or a redirect to nowhere.
        """
        with LeastRate(self._connections, self.window) as rate:
            while True:
                response = self._follow(path, start)
                try:
                    self._reached = True
                    if response.status_code in (401, 403) and self.is_of_hub(response) and self._take_token():
                        continue
                    _raise_for_status(response)
                    length = response.headers.get("content-length", "")
                    size = int(length) if length.isascii() and length.isdecimal() and len(length) < 16 else None
                    yield Answer(response.status_code, _counted(response, rate), size)
                    return
                finally:
                    response.close()

    def _follow(self, path: str, start: int) -> Any:
        """The response at the end of the redirects."""
        from huggingface_hub.utils import get_session, httpx

        headers = {"user-agent": f"sdbuild/{__version__}", "accept-encoding": "identity"}
        if start:
            headers["range"] = f"bytes={start}-"
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        options = {"headers": headers, "timeout": self._timeout, "extensions": {"trace": self._connections.trace}}
        session = get_session()
        session.cookies.jar.set_policy(_NO_COOKIES)  # who sets one that can't be sent would end all requests
        how = "is no name of a host"
        try:
            request = session.build_request("GET", self.endpoint + path, **options)
            for _ in range(_MOST_REDIRECTS):
                response = session.send(request, stream=True, follow_redirects=False)
                if response.status_code // 100 != 3:
                    return response
                how = "redirects to nowhere"
                response.close()
                request = response.next_request
                if request is None:
                    break
        except (UnicodeError, httpx.InvalidURL):  # names that nobody can look up
            pass
        raise OddAnswerError(f"{how}; {_LOOK}")

    def is_of_hub(self, response: Any) -> bool:
        """Whether it comes from where the token may go: not from a host that it was redirected to."""
        return bool(response.url.host == urlsplit(self.endpoint).hostname)

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
        try:
            token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        except (
            Exception
        ) as error:  # a file that is none, an exchange of tokens that fails: the library has no one error for it
            raise SourceError(
                f"the hub's token can't be had ({type(error).__name__}): set HF_TOKEN, or run `hf auth login`"
            ) from None
        if token is not None and not re.fullmatch(r"[\x21-\x7e]+", token):
            raise SourceError(
                "the hub's token holds a blank or a character that no token has: copy it into HF_TOKEN again"
            )
        self._token = token
        return token is not None


def _checked(endpoint: str) -> str:
    """The address of a hub, without a slash at its end. Raises SourceError: it is none."""
    try:
        parts = urlsplit(endpoint)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise SourceError(
            f"HF_ENDPOINT is {shown(endpoint)}: write an address of http or https, such as https://huggingface.co"
        )
    return endpoint.rstrip("/")


def _raise_for_status(response: Any) -> None:
    """Raise what huggingface_hub makes of an error, or OddAnswerError."""
    from huggingface_hub.utils import hf_raise_for_status, httpx

    if response.status_code >= 400:
        told = {name: value for name in _TELLING if _is_plain(value := response.headers.get(name, ""))}
        hf_raise_for_status(httpx.Response(response.status_code, headers=told, request=response.request))
    packed = response.headers.get("content-encoding", "identity")
    if packed.lower() != "identity":
        raise OddAnswerError(f"answers with a packed body, which was not asked for; {_LOOK}")


def _is_plain(value: str) -> bool:
    """Whether a header is there and can be given on: the library encodes ASCII alone, and reads no number of 5,000 digits."""
    return value.isascii() and 0 < len(value) <= _LONGEST_HEADER


def _counted(response: Any, rate: LeastRate) -> Iterator[bytes]:
    for chunk in response.iter_raw():
        rate.received += len(chunk)
        yield chunk


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
