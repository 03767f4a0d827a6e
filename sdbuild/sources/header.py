"""The header of a safetensors file: which tensors are in it, of which types and shapes, and where.

The format (github.com/huggingface/safetensors, "Format"): the length of the header, uint64 little-endian; the header, JSON in
UTF-8 that starts with ``{``; then the tensors in C order, one after the other with nothing between. Whatever is read here comes
from strangers, so all of it is checked, as the format's own library does, and names that come twice besides.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from sdbuild.errors import SourceError
from sdbuild.sources.base import shown
from sdbuild.standins import ENOUGH, stand_in, text_instead

BITS = {
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
"""Bits of an element, by the format's names of types."""

_LENGTH = 8  # bytes of the header's length
_MOST = 100_000_000  # bytes of a header, as the library has it
_MOST_DIMENSIONS = 64  # as NumPy has it
_LONGEST = 2**48  # of a dimension or place: beyond any disk


@dataclass(frozen=True)
class Entry:
    """A tensor in a file: its type by the format's name, its shape, and its place in bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def looks_like_header(start: bytes) -> bool:
    """Whether a file that begins so may be a safetensors file: after the length comes an object."""
    return start[_LENGTH : _LENGTH + 1] == b"{" and int.from_bytes(start[:_LENGTH], "little") <= _MOST


def read_header(name: str, size: int, read: Callable[[int], bytes]) -> dict[str, Entry]:
    """The tensors of a file by name; see `read_header_and_metadata`."""
    return read_header_and_metadata(name, size, read)[0]


def read_header_and_metadata(
    name: str, size: int, read: Callable[[int], bytes]
) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a file by name, and what its author wrote beside them.

    ``name`` is for messages; ``size`` that of the file in bytes; ``read`` gives as many of its first bytes as it is asked for.

    Raises:
        UserError: not a safetensors file, or one that is not whole.
    """
    start = read(min(size, ENOUGH))
    if wrong := stand_in(start) or (None if looks_like_header(start) else text_instead(start)):
        raise SourceError(f"{name} {wrong}")
    length = int.from_bytes(start[:_LENGTH], "little")
    try:
        if len(start) < _LENGTH or length > min(_MOST, size - _LENGTH):
            raise _DamagedError("its beginning is not that of one, or its end is missing")
        text = read(_LENGTH + length)[_LENGTH:]
        if len(text) != length:
            raise _DamagedError("its header breaks off")
        header, metadata = _parsed(text)
        return _placed(header, _LENGTH + length, size), metadata
    except _DamagedError as error:
        raise SourceError(f"{name}: not a safetensors file, or damaged ({error}); get it again") from None


def header_of(file: Path) -> dict[str, Entry]:
    """The same of a file on this machine, which the message names by its path."""

    def read(count: int) -> bytes:
        with file.open("rb") as content:
            return content.read(count)

    return read_header(str(file), file.stat().st_size, read)


class _DamagedError(Exception):
    """What is wrong with a header."""


def _parsed(text: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _DamagedError("its header is not JSON") from None
    if not isinstance(header, dict):
        raise _DamagedError("its header is no object")
    metadata = header.pop("__metadata__", None)
    if metadata is not None and not (isinstance(metadata, dict) and all(type(v) is str for v in metadata.values())):
        raise _DamagedError("its metadata is no table of texts")
    return header, metadata or {}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise _DamagedError(f"its header has {shown(key)} twice")
        if not key.isascii():
            key.encode()  # half a character is a ValueError
        made[key] = value
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _placed(header: dict[str, Any], start: int, size: int) -> dict[str, Entry]:
    entries = {name: _entry(name, about, start) for name, about in header.items()}
    at = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != at:
            raise _DamagedError(f"{shown(name)} does not begin where the tensor before it ends")
        at = entry.end
    if at != size:
        what = "its end is missing" if at > size else "something follows the last tensor"
        raise _DamagedError(f"{what}: {size:,} bytes instead of {at:,}")
    return entries


def _entry(name: str, about: Any, start: int) -> Entry:
    about = about if isinstance(about, dict) else {}
    dtype, shape, offsets = about.get("dtype"), about.get("shape"), about.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _DamagedError(f"{shown(name)} is of an unknown type")
    if not _are_sizes(shape) or len(shape) > _MOST_DIMENSIONS or not _are_sizes(offsets) or len(offsets) != 2:
        raise _DamagedError(f"the shape or the place of {shown(name)} is none")
    bits = math.prod(shape) * BITS[dtype]
    if bits != (offsets[1] - offsets[0]) * 8:
        raise _DamagedError(f"{shown(name)} has another size than its type and shape say")
    return Entry(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < _LONGEST for number in value)
