"""SHA-256 of files that this process wrote: read once, though a package's manifest and its artifact's stamp both want it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

Identity = tuple[int, int, int, int]

_WRITTEN: dict[Identity, str] = {}


def identity(stat: os.stat_result) -> Identity:
    """Equal for two names of a file that nobody wrote to in between."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def digest_written(path: Path) -> str:
    """Read a file that is complete, and remember its digest, in hexadecimal, for `written`."""
    with path.open("rb") as file:
        before = identity(os.fstat(file.fileno()))
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _WRITTEN[before] = digest
    return digest


def written() -> dict[Identity, str]:
    """The digests of such files; one that was written to since, or replaced, has another identity."""
    return dict(_WRITTEN)
