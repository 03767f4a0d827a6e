"""MIL Blob Storage, version 2: the ``weight.bin`` of a package.

The file opens with a 64-byte header (blob count, version). Each blob is a 64-byte record (sentinel, type, byte size,
offset of the payload, bits of padding) followed by its payload; records and payloads start on multiples of 64 bytes. A
program's ``BLOBFILE`` offset is that of the record. Source: ``mlmodel/src/MILBlob`` in apple/coremltools (BSD-3-Clause).
"""

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sdbuild.errors import UserError
from sdbuild.standins import ENOUGH, stand_in

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_ALIGNMENT = 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_PIECE = 8 << 20
_HEADER = struct.Struct("<II56x")
_RECORD = struct.Struct("<IIQQQ32x")


class BlobType(IntEnum):
    """Element types; sub-byte ones are packed from the lowest bit, across byte borders."""

    FLOAT16 = 1
    FLOAT32 = 2
    UINT8 = 3
    INT8 = 4
    BFLOAT16 = 5
    INT16 = 6
    UINT16 = 7
    INT4 = 8
    UINT1 = 9
    UINT2 = 10
    UINT4 = 11
    UINT3 = 12
    UINT6 = 13
    INT32 = 14
    UINT32 = 15


_TYPES = frozenset(int(kind) for kind in BlobType)
_BITS = {kind: int("".join(filter(str.isdigit, kind.name))) for kind in BlobType}


def payload_size(kind: BlobType, elements: int) -> int:
    """The bytes that elements of a type take in the file."""
    return -(-elements * _BITS[kind] // 8)


class BlobError(UserError):
    """A weight file that does not hold what the program says it does."""


@dataclass(frozen=True)
class Blob:
    """One blob: ``data`` is its payload, uint8 [bytes], mapped from the file; ``padding_bits`` of it are unused."""

    type: BlobType
    data: Bytes
    padding_bits: int


class BlobReader:
    """Random access to a weight file; payloads are memory-mapped and read when touched.

    Raises:
        BlobError: the file is missing, of another version, or too short to be one.
    """

    def __init__(self, path: Path) -> None:
        """Map ``path``."""
        self.path = path
        try:
            if path.exists() and not path.is_file():
                raise ValueError("it is no regular file")
            if path.exists() and not path.stat().st_size:
                raise BlobError(f"{path}: it {stand_in(b'')}")
            self._bytes: Bytes = np.memmap(path, np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise BlobError(f"{path}: cannot be read as a weight file ({error})") from None
        if len(self._bytes) < _HEADER.size or _HEADER.unpack_from(self._bytes.data)[1] != _VERSION:
            instead = stand_in(bytes(self._bytes[:ENOUGH]))
            what = f"it {instead}" if instead else f"not a MIL blob storage file of version {_VERSION}"
            raise BlobError(f"{path}: {what}")

    def read(self, offset: int) -> Blob:
        """The blob whose record is at ``offset``.

        Raises:
            BlobError: no record there, or a payload that reaches past the end of the file.
        """
        end = len(self._bytes)
        if not 0 <= offset <= end - _RECORD.size:
            raise BlobError(f"{self.path}: offset {offset} is outside the file ({end} bytes): truncated or mismatched")
        sentinel, kind, size, start, padding = _RECORD.unpack_from(self._bytes.data, offset)
        if sentinel != _SENTINEL or kind not in _TYPES:
            raise BlobError(f"{self.path}: no weight record at offset {offset}: damaged or mismatched")
        if start + size > end:
            raise BlobError(f"{self.path}: the weight at offset {offset} ends at {start + size}, the file at {end}")
        return Blob(BlobType(kind), self._bytes[start : start + size], padding)

    def holds(self, array: Any) -> bool:
        """Whether an array is a view of the file, and not a copy of something in it."""
        return np.may_share_memory(array, self._bytes)

    def release(self, blob: Blob | None = None) -> None:
        """Give back the memory that holds ``blob``, one of this file's, or all; reading again is possible and reads the file.

        Pages of a mapped file count as a process's memory from when they are touched: what only passes through should not.
        """
        mapped: Any = self._bytes.base
        data = self._bytes if blob is None else blob.data
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and len(data):
            start = data.ctypes.data - self._bytes.ctypes.data
            page = start // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, page, start + len(data) - page)

    def stream(self, blob: Blob) -> Iterator[Bytes]:
        """The payload in pieces, each of which is released before the next is read."""
        for start in range(0, len(blob.data), _PIECE):
            piece = blob.data[start : start + _PIECE]
            yield piece
            self.release(Blob(blob.type, piece, 0))


class BlobWriter:
    """Write a weight file blob after blob; only one chunk need be in memory at a time."""

    def __init__(self, path: Path) -> None:
        """Create ``path``."""
        self._file = path.open("w+b")
        self._count = 0
        self._file.write(_HEADER.pack(0, _VERSION))

    def add(self, kind: BlobType, size: int, chunks: Iterable[Any], padding_bits: int = 0) -> int:
        """Append a blob of ``size`` bytes from buffers; returns the offset of its record."""
        self._align()
        offset = self._file.tell()
        start = offset + _RECORD.size
        self._file.write(_RECORD.pack(_SENTINEL, kind, size, start, padding_bits))
        for chunk in chunks:
            self._file.write(chunk)
        written = self._file.tell() - start
        if written != size:
            raise ValueError(f"blob {self._count}: {written} bytes given, {size} announced")
        self._count += 1
        return offset

    def holds(self, offset: int, data: Bytes) -> bool:
        """Whether the blob whose record is at ``offset`` has that payload, or one that begins with it."""
        end = self._file.tell()
        try:
            self._file.seek(offset + _RECORD.size)
            for start in range(0, len(data), _PIECE):
                piece = data[start : start + _PIECE]
                if self._file.read(len(piece)) != piece.tobytes():
                    return False
            return True
        finally:
            self._file.seek(end)

    def close(self) -> None:
        """Finish the file: its header counts the blobs."""
        self._file.seek(0)
        self._file.write(_HEADER.pack(self._count, _VERSION))
        self._file.close()

    def _align(self) -> None:
        self._file.write(bytes(-self._file.tell() % _ALIGNMENT))

    def __enter__(self) -> Self:
        """Use as a context manager: closed on the way out."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, or only release it after an error."""
        if error is None:
            self.close()
        else:
            self._file.close()
