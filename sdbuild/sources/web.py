"""One file of weights at an address: resumed where it broke off, watched over and verified as the hub's are."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from sdbuild.errors import SourceError
from sdbuild.sources.base import SourceFile
from sdbuild.sources.client import HubClient, OddAnswerError
from sdbuild.sources.hub import HubSource
from sdbuild.sources.least_rate import LEAST_RATE, TooSlowError

T = TypeVar("T")

_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


class _WebClient(HubClient):
    """The hub's client for any other host, which the hub's token is never sent to."""

    def _take_token(self) -> bool:
        return False


class _NoCache:
    """The hub's cache has only what is the hub's."""

    def find(self, file: SourceFile, commit: str | None) -> Path | None:
        return None


class WebSource(HubSource):
    """What its recipe says of its content is all that is trusted."""

    commit = None  # type: ignore[assignment]
    caveat = ""

    def __init__(self, address: str, sha256: str, client: HubClient | None = None) -> None:
        """Nothing is asked yet."""
        parts = urlsplit(address)
        client = client or _WebClient(f"{parts.scheme}://{parts.netloc}")
        super().__init__(address.partition("?")[0], None, client, _NoCache())  # type: ignore[arg-type]
        self._place = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        name = unquote(parts.path.rpartition("/")[2])
        named = name.lower().endswith(_SUFFIXES) and name.isprintable() and "\\" not in name
        self.single, self._sha256 = name if named else "model.safetensors", sha256
        self.title: str | None = None  # type: ignore[assignment]

    @cached_property
    def files(self) -> dict[str, SourceFile]:
        """The file, as large as the server says."""

        def ask() -> int | None:
            with self._client.get(self._place) as answer:
                return answer.size

        size = self._patiently(ask)
        if size is None:
            raise SourceError(
                f"{self.name}: {self._client.host} does not say how large the file is; download it, and name it"
            )
        path = str(self.single)
        return {path: SourceFile(path, size, self._sha256)}

    def _address(self, file: SourceFile) -> str:
        return self._place

    def _wrong(self, file: SourceFile, how: str) -> SourceError:
        how = how.replace("than the hub lists", "than the recipe's `sha256`")
        return type(super()._wrong(file, how))(
            f"{self.name} comes {how}; nothing of it was kept. It has changed, or the digest is another file's"
        )

    def _patiently(
        self, attempt: Callable[[], T], file: SourceFile | None = None, progress: Callable[[], int] = int
    ) -> T:
        """The attempt's result, or a SourceError of what can't be overcome."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

        try:
            return self._client.patiently(attempt, progress)
        except OfflineModeIsEnabled:
            raise SourceError(
                f"{self.name}: HF_HUB_OFFLINE is set, so that nothing is asked; unset it, or download the file and name it"
            ) from None
        except (HTTPError, OddAnswerError, TooSlowError) as error:
            if file is not None and isinstance(error, HfHubHTTPError) and error.response.status_code == 416:
                raise self._wrong(file, f"with fewer than {file.size} bytes") from None
            raise SourceError(f"{self.name}: {self._explained(error)}") from None

    def _explained(self, error: Exception) -> str:
        from huggingface_hub.errors import HfHubHTTPError

        from sdbuild.sources.hub_errors import unreachable

        host = self._client.host
        if isinstance(error, TooSlowError):
            return (
                f"{host} sent fewer than {LEAST_RATE:,} bytes a second for {self._client.window:.0f} s, and was given up; "
                "build again: what has been fetched is kept"
            )
        if isinstance(error, OddAnswerError):
            return f"{host} {error}"
        if not isinstance(error, HfHubHTTPError):
            return unreachable(error, host)
        status = error.response.status_code
        if status in (404, 410):
            return f"{host} has no such file (status {status}); look at the address"
        if status in (401, 403):
            return f"{host} wants to know who asks (status {status}), and nothing is sent to it; download the file, and name it"
        if status >= 500:
            return f"{host} has trouble of its own (status {status}); build again later: what has been fetched is kept"
        return f"{host} refuses it (status {status})"


def open_source(facts: Mapping[str, Any], commit: str | None) -> WebSource:
    """The file at ``id``, whose content has the digest ``sha256``; it has no commits."""
    return WebSource(facts["id"], facts["sha256"])
