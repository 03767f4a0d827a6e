"""What every source is: named files of known size, read whole when small, fetched when large."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from sdbuild.errors import SourceError
from sdbuild.standins import ENOUGH, stand_in

Progress = Callable[[int], None]
"""Told how many bytes of a file are there so far."""

MOST_TO_READ = 32 << 20
"""Bytes of a file that is read whole: configuration, of which a tokenizer's few MB are the most."""
_BLOCK = 1 << 20


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
    def title(self) -> str | None:
        """What everybody knows it by; None for a folder, whose name is its user's affair."""

    @property
    def commit(self) -> str | None:
        """What the revision stands for now; None for what has no revisions."""

    @property
    def caveat(self) -> str:
        """Why a file may seem not to be there, for the end of a message; "" where nothing is to be said."""

    @property
    def single(self) -> str | None:
        """The path of the weight file that this source is; None where it is a folder of several."""

    @property
    def files(self) -> dict[str, SourceFile]:
        """All files by path. Raises SourceError when the source is not there."""

    def read(self, path: str) -> bytes:
        """The content of a small file. Raises SourceError."""

    def read_start(self, path: str, count: int) -> bytes:
        """The first bytes of a file, all of a shorter one; nobody has vouched for them. Raises SourceError."""

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


def read_text_file(source: Source, path: str) -> bytes:
    """The content of a small file of text. Raises SourceError: missing, or something else in its place."""
    content = source.read(path)
    if wrong := stand_in(content[:ENOUGH]):
        raise SourceError(f"{source.name}: {path} {wrong}")
    return content


def read_json(source: Source, path: str) -> dict[str, Any]:
    """A JSON object among a source's files.

    Raises:
        SourceError: missing; not JSON in UTF-8, with or without a byte-order mark; or with what programs read differently (a
            key twice in one object, NaN, half a character) or choke on (more than 64 levels).
    """
    content = read_text_file(source, path)
    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_object, parse_int=_whole_number)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _damaged(source, path, f", line {line} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _damaged(source, path, f", line {error.lineno} is not valid JSON") from None
    except _TwiceError as error:
        raise _damaged(source, path, f" has the key {shown(error.args[0])} twice in one object") from None
    except RecursionError:
        raise _damaged(source, path, _DEEP) from None
    if not isinstance(value, dict):
        raise SourceError(f"{source.name}: {path} holds no JSON object; the file is not what its name says")
    if _is_deep(value):
        raise _damaged(source, path, _DEEP)
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # whatever was read can be written
    except ValueError:
        raise _damaged(source, path, f" has {next(_unfit(value))}, which is not valid JSON") from None
    return value


_LEVELS = 64
_DEEP = f" has more than {_LEVELS} levels, one inside the other"
_DIGITS = 1000  # of a whole number; Python reads a few thousand


class _TwiceError(Exception):
    """A key that an object has two values for."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _TwiceError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return made


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else math.inf


def _unfit(value: Any, place: str = "") -> Iterator[str]:
    """What can't be written as JSON, with its place: ``NaN at vision_config.sizes[1]``."""
    match value:
        case dict():
            for key, inside in value.items():
                at = f"{place}.{shown(key)}" if place else shown(key)
                yield from _unfit(key, at)
                yield from _unfit(inside, at)
        case list():
            for number, inside in enumerate(value):
                yield from _unfit(inside, f"{place}[{number}]")
        case str() if any("\ud800" <= character <= "\udfff" for character in value):
            yield f"half a character at {shown(place)}"
        case float() if math.isnan(value):
            yield f"NaN at {shown(place)}"
        case float() if math.isinf(value):
            yield f"infinity, or a number that is too large, at {shown(place)}"


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_LEVELS):
        inside = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
    return bool(level)


def _damaged(source: Source, path: str, what: str) -> SourceError:
    return SourceError(f"{source.name}: {path}{what}; the file is damaged: get it again")


_SHOWN = 60


def shown(value: Any) -> str:
    """A JSON value in a message: short, and with nothing that a terminal acts on."""
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
