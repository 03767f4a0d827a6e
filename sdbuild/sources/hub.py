"""Models on the hub: what is in a repository at a revision, and its files, resumed where they broke off and verified."""

import hashlib
import io
import re
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

from sdbuild.errors import SourceError
from sdbuild.sources.base import MOST_TO_READ, Progress, SourceFile
from sdbuild.sources.client import HubClient, OddAnswerError
from sdbuild.sources.hub_cache import HubCache, clone, copy
from sdbuild.sources.hub_errors import explain
from sdbuild.sources.least_rate import TooSlowError
from sdbuild.sources.listing import MOST_LISTED, ListingError, read_listing

T = TypeVar("T")

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DEFAULT_REVISION = "main"
_START = 1 << 18  # bytes of a file that are asked for at least, to look at its beginning: most headers of weights


class _WrongContentError(SourceError):
    """Bytes that are not those the hub's listing promises."""


class HubSource:
    """A model repository at a revision: branch, tag or commit.

    Files that the hub's own cache has are taken from there; offline (``HF_HUB_OFFLINE``) there is nothing else.
    """

    single: str | None = None

    def __init__(
        self, repository: str, revision: str | None, client: HubClient | None = None, cache: HubCache | None = None
    ) -> None:
        """Nothing is asked yet. Without a revision: the branch ``main``."""
        self.name = self.title = repository
        self._revision = revision or _DEFAULT_REVISION
        self._client = HubClient() if client is None else client
        self._starts: dict[str, bytes] = {}
        self._cache = HubCache(repository) if cache is None else cache

    @property
    def commit(self) -> str:
        """What the revision stands for now; a commit is known without asking."""
        return self._revision if _COMMIT.fullmatch(self._revision) else self._listing[0]

    @property
    def files(self) -> dict[str, SourceFile]:
        """All files of the commit; offline, those that were fetched before."""
        return self._listing[1]

    @property
    def caveat(self) -> str:
        """Why a file may seem not to be there, for the end of a message."""
        if not self._offline:
            return ""
        return (
            f" (HF_HUB_OFFLINE is set, so that only what {self._cache} has is seen: if that is not the whole model, unset it, "
            f"or run `hf download {self.name} --revision {self._revision}` once)"
        )

    def read(self, path: str) -> bytes:
        """The content of a small file; verified."""
        file = self.files.get(path)
        if file is None:
            raise SourceError(
                f"{self.name}: there is no {path} at revision '{self._revision}'; a diffusers pipeline has one: "
                f"look at {self._client.endpoint}/{self.name}/tree/{self.commit}"
            )
        if file.size > MOST_TO_READ:
            raise SourceError(f"{self.name}: {path} has {_amount(file.size)}, too much for what it should be")
        content = io.BytesIO()
        if (cached := self._cache.find(file, self.commit)) is not None:
            content.write(cached.read_bytes())
        self._fill(file, content, lambda _done: None)
        return content.getvalue()

    def read_start(self, path: str, count: int) -> bytes:
        """The first bytes of a file, from the hub's cache or by a request that is broken off there."""
        file, known = self.files[path], self._starts.get(path, b"")
        wanted = min(file.size, max(count, _START))
        if (cached := self._cache.find(file, self.commit)) is not None:
            with cached.open("rb") as there:
                return there.read(count)

        def receive() -> bytes:
            content = b""
            with self._client.get(self._address(file)) as answer:
                for chunk in answer.chunks:
                    content += chunk
                    if len(content) >= wanted:
                        break
            return content

        if len(known) < min(file.size, count):
            known = self._starts[path] = self._patiently(receive, file)
        return known[:count]

    def fetch(self, file: SourceFile, folder: Path, scratch: Path, progress: Progress) -> None:
        """Copy a file from the hub's cache, or download it, from where an earlier attempt ended; what proves to be wrong is
        thrown away.
        """
        name = file.sha256 or file.git_sha1 or hashlib.sha256(file.path.encode()).hexdigest()
        partial = scratch / f"{name}.part"
        self._prepare(file, partial, progress)
        with partial.open("a+b") as content:
            try:
                self._fill(file, content, progress)
            except _WrongContentError:
                partial.unlink()
                raise
        shutil.move(partial, folder / file.name)

    def _prepare(self, file: SourceFile, partial: Path, progress: Progress) -> None:
        """What is at hand of a file, and room for the rest."""
        missing = file.size - (partial.stat().st_size if partial.exists() else 0)
        cached = self._cache.find(file, self.commit) if missing else None
        if cached is not None:
            if clone(cached, partial):
                return
            missing = file.size
        free = shutil.disk_usage(partial.parent).free
        if missing > free:
            raise SourceError(
                f"{self.name}: {file.path} needs {_amount(missing)} more, and {_amount(free)} are free where the store "
                f"lies ({partial.parent}); make room, or set SDBUILD_STORE to a folder on another disk"
            )
        if cached is not None:
            copy(cached, partial, progress)

    @property
    def _offline(self) -> bool:
        from huggingface_hub import constants

        return bool(constants.HF_HUB_OFFLINE)

    @cached_property
    def _listing(self) -> tuple[str, dict[str, SourceFile]]:
        """The commit and its files."""
        return self._listed_by_cache() if self._offline else self._listed_by_hub()

    def _listed_by_cache(self) -> tuple[str, dict[str, SourceFile]]:
        commit = self._cache.commit(self._revision)
        if commit is None:
            raise SourceError(
                f"{self.name}: HF_HUB_OFFLINE forbids asking {self._client.host} for it, and revision '{self._revision}' is "
                f"not in {self._cache}; unset it, or name a local folder"
            )
        return commit, self._cache.files(commit)

    def _listed_by_hub(self) -> tuple[str, dict[str, SourceFile]]:
        path = f"/api/models/{quote(self.name)}/revision/{quote(self._revision, safe='')}?blobs=true"

        def ask() -> bytes:
            with self._client.get(path) as answer:
                return answer.read(MOST_LISTED)

        try:
            commit, files = read_listing(self._patiently(ask))
        except ListingError as error:
            raise self._odd(f"does not answer as the hub does ({error})") from None
        if _COMMIT.fullmatch(self._revision) and commit != self._revision:
            raise self._odd(f"lists another commit than {self._revision}")
        return commit, files

    def _odd(self, how: str) -> SourceError:
        return SourceError(f"{self.name}: {self._client.endpoint} {how}; check HF_ENDPOINT and the proxy settings")

    def _fill(self, file: SourceFile, content: IO[bytes], progress: Progress) -> None:
        """Complete the content and verify it."""
        resumed = content.seek(0, io.SEEK_END) > 0
        self._receive(file, content, progress)
        if resumed and not file.vouches_for(content):  # what was kept may be what is wrong
            _empty(content)
            self._receive(file, content, progress)
        if not file.vouches_for(content):
            raise self._wrong(file, "with another checksum than the hub lists")

    def _receive(self, file: SourceFile, content: IO[bytes], progress: Progress) -> None:
        """Append what is missing."""

        def append() -> None:
            done = content.seek(0, io.SEEK_END)
            if done > file.size:
                done = _empty(content)
            progress(done)
            if done == file.size:
                return
            with self._client.get(self._address(file), start=done) as answer:
                if done and answer.status != 206:  # the server knows no ranges: it begins anew
                    done = _empty(content)
                for chunk in answer.chunks:
                    done += len(chunk)
                    if done > file.size:
                        raise self._wrong(file, f"with more than {file.size} bytes")
                    content.write(chunk)
                    content.flush()  # a killed process has lost nothing
                    progress(done)
            if done < file.size:
                raise self._wrong(file, f"with {done} bytes instead of {file.size}")

        self._patiently(append, file, lambda: content.seek(0, io.SEEK_END))

    def _address(self, file: SourceFile) -> str:
        return f"/{quote(self.name)}/resolve/{self.commit}/{quote(file.path)}"

    def _patiently(
        self, attempt: Callable[[], T], file: SourceFile | None = None, progress: Callable[[], int] = int
    ) -> T:
        """The attempt's result, or a SourceError of what can't be overcome."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

        try:
            return self._client.patiently(attempt, progress)
        except (HTTPError, OfflineModeIsEnabled, OddAnswerError, TooSlowError) as error:
            if file is not None and isinstance(error, HfHubHTTPError) and error.response.status_code == 416:
                raise self._wrong(file, f"with fewer than {file.size} bytes") from None
            text = explain(error, self._client, self.name, self._revision, file.path if file else None)
            raise SourceError(f"{self.name}: {text}{self._instead(error)}") from None

    def _instead(self, error: Exception) -> str:
        """What the cache offers to who can't reach the hub."""
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        if isinstance(error, OfflineModeIsEnabled):
            return f"; {self._cache} has no whole copy of it"
        if isinstance(error, HfHubHTTPError) or self._cache.commit(self._revision) is None:
            return ""
        return f"; or set HF_HUB_OFFLINE=1 to build from what {self._cache} has"

    def _wrong(self, file: SourceFile, how: str) -> SourceError:
        return _WrongContentError(
            f"{self.name}: {file.path} comes {how}; nothing of it was kept. The hub's copy is damaged, or a proxy on the "
            "way: build again, and if it stays so, name another revision"
        )


def _empty(content: IO[bytes]) -> int:
    content.seek(0)
    content.truncate()
    return 0


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def open_source(facts: Mapping[str, Any], commit: str | None) -> HubSource:
    """The repository ``id``, at ``commit`` or else at ``revision``, null for the default branch."""
    return HubSource(facts["id"], commit or facts["revision"])
