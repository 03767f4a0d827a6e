"""What every source is: named files of known size, read whole when small, fetched when large."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from sdbuild.errors import UserError

Progress = Callable[[int], None]
"""Told how many bytes of a file are there so far."""

_BLOCK = 1 << 20


class SourceError(UserError):
    """A source that can't be used: its text names the source, what is wrong and what to do."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    ``path`` is relative to the source, with slashes; ``size`` in bytes. The hub vouches for a large file with its
    ``sha256``, for a small one with ``git_sha1``, git's name of the blob; for a local file nobody does.
    """

    path: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def record(self) -> dict[str, Any]:
        """As JSON; ``SourceFile(**record)`` is the way back."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def vouches_for(self, content: IO[bytes]) -> bool:
        """Whether the content is what the source says it should be. Reads it from the start."""
        if self.sha256 is not None:
            return digest(content) == self.sha256
        if self.git_sha1 is not None:
            return digest(content, hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)) == self.git_sha1
        return True


class Source(Protocol):
    """A pipeline, or a single model such as a VAE."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def commit(self) -> str | None:
        """What the revision stands for now; None for what has no revisions."""

    @property
    def files(self) -> dict[str, SourceFile]:
        """All files by path. Raises SourceError when the source is not there."""

    def read(self, path: str) -> bytes:
        """The content of a small file. Raises SourceError."""

    def fetch(self, file: SourceFile, folder: Path, scratch: Path, progress: Progress) -> None:
        """Put a large file into a folder, under its name; `scratch` keeps what an interrupted fetch
        had, and is no other process's meanwhile.

        Raises SourceError; then nothing of the file is in the folder.
        """


def digest(content: IO[bytes], hasher: Any = None) -> str:
    """The hexadecimal digest of a stream from its start; SHA-256 unless another hasher is given."""
    hasher = hashlib.sha256() if hasher is None else hasher
    content.seek(0)
    while block := content.read(_BLOCK):
        hasher.update(block)
    return str(hasher.hexdigest())


def read_json(source: Source, path: str) -> dict[str, Any]:
    """A JSON object among a source's files. Raises SourceError: missing, or not JSON."""
    try:
        value = json.loads(source.read(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise SourceError(f"{source.name}: {path}{where} is not valid JSON; the file is damaged: get it anew") from None
    if not isinstance(value, dict):
        raise SourceError(f"{source.name}: {path} holds no JSON object; the file is not what its name says")
    return value
