"""Models on the hub: what is in a repository at a revision, and its files, resumed where they broke off and verified."""

import io
import json
import re
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

from sdbuild.sources.base import MOST_TO_READ, Progress, SourceError, SourceFile
from sdbuild.sources.client import HubClient
from sdbuild.sources.hub_errors import explain

T = TypeVar("T")

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DEFAULT_REVISION = "main"
_START = 1 << 18  # bytes of a file that are asked for at least, to look at its beginning: most headers of weights


class _WrongContentError(SourceError):
    """Bytes that are not those the hub's listing promises."""


class HubSource:
    """A model repository at a revision: branch, tag or commit."""

    def __init__(self, repository: str, revision: str | None, client: HubClient | None = None) -> None:
        """Nothing is asked yet. Without a revision: the branch ``main``."""
        self.name = self.title = repository
        self._revision = revision or _DEFAULT_REVISION
        self._client = HubClient() if client is None else client
        self._starts: dict[str, bytes] = {}

    @property
    def commit(self) -> str:
        """What the revision stands for now; a commit is known without asking."""
        return self._revision if _COMMIT.fullmatch(self._revision) else self._listing[0]

    @property
    def files(self) -> dict[str, SourceFile]:
        """All files of the commit."""
        return self._listing[1]

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
        self._fill(file, content, lambda _done: None)
        return content.getvalue()

    def read_start(self, path: str, count: int) -> bytes:
        """The first bytes of a file, by a request that is broken off there."""
        file, known = self.files[path], self._starts.get(path, b"")
        wanted = min(file.size, max(count, _START))

        def receive() -> bytes:
            content = b""
            with self._client.get(self._address(file)) as response:
                for chunk in response.iter_raw():
                    content += chunk
                    if len(content) >= wanted:
                        break
            return content

        if len(known) < min(file.size, count):
            known = self._starts[path] = self._patiently(receive, file)
        return known[:count]

    def fetch(self, file: SourceFile, folder: Path, scratch: Path, progress: Progress) -> None:
        """Download a file, from where an earlier attempt ended; what proves to be wrong is thrown away."""
        partial = scratch / f"{file.sha256 or file.git_sha1}.part"
        with partial.open("a+b") as content:
            missing, free = file.size - content.seek(0, io.SEEK_END), shutil.disk_usage(scratch).free
            if missing > free:
                raise SourceError(
                    f"{self.name}: {file.path} needs {_amount(missing)} more, and {_amount(free)} are free where the store "
                    f"lies ({scratch}); make room, or set SDBUILD_STORE to a folder on another disk"
                )
            try:
                self._fill(file, content, progress)
            except _WrongContentError:
                partial.unlink()
                raise
        shutil.move(partial, folder / file.name)

    @cached_property
    def _listing(self) -> tuple[str, dict[str, SourceFile]]:
        """The commit and its files."""
        path = f"/api/models/{quote(self.name)}/revision/{quote(self._revision, safe='')}?blobs=true"

        def ask() -> Any:
            with self._client.get(path) as response:
                return json.loads(response.read())

        try:
            answer = self._patiently(ask)
            return answer["sha"], {file.path: file for file in map(_listed, answer["siblings"])}
        except (ValueError, KeyError, TypeError):
            endpoint = self._client.endpoint
            raise SourceError(
                f"{self.name}: {endpoint} does not answer as the hub does; check HF_ENDPOINT and the proxy settings"
            ) from None

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
            with self._client.get(self._address(file), start=done) as response:
                if done and response.status_code != 206:  # the server knows no ranges: it begins anew
                    done = _empty(content)
                for chunk in response.iter_raw():
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
        except (HTTPError, OfflineModeIsEnabled) as error:
            if file is not None and isinstance(error, HfHubHTTPError) and error.response.status_code == 416:
                raise self._wrong(file, f"with fewer than {file.size} bytes") from None
            raise explain(error, self._client, self.name, self._revision, file.path if file else None) from None

    def _wrong(self, file: SourceFile, how: str) -> SourceError:
        return _WrongContentError(
            f"{self.name}: {file.path} comes {how}; nothing of it was kept. The hub's copy is damaged, or a proxy on the "
            "way: build again, and if it stays so, name another revision"
        )


def _listed(sibling: dict[str, Any]) -> SourceFile:
    """A file as the hub lists it: large ones with the SHA-256 of Git LFS, small ones with git's."""
    lfs = sibling.get("lfs")
    if lfs:
        return SourceFile(sibling["rfilename"], int(lfs["size"]), sha256=str(lfs["sha256"]))
    return SourceFile(sibling["rfilename"], int(sibling["size"]), git_sha1=str(sibling["blobId"]))


def _empty(content: IO[bytes]) -> int:
    content.seek(0)
    content.truncate()
    return 0


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
