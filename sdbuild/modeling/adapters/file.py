"""An adapter's file: the shapes of its tensors by name, and the tensors, one at a time."""

from functools import cached_property
from pathlib import Path

import numpy as np

from sdbuild.arrays import Array
from sdbuild.errors import SourceError
from sdbuild.modeling.floats import decoded
from sdbuild.sources.contents import are_safetensors, opening
from sdbuild.sources.header import Entry, header_of
from sdbuild.sources.leftovers import WEIGHT_TYPES, type_problem

_WHOLE = {"I8": "<i1", "U8": "<u1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
"""Whole numbers, as some trainers save an alpha."""


class AdapterFile:
    """Of safetensors, or, read whole, of a pickle."""

    def __init__(self, path: Path) -> None:
        """Read what says which tensors there are. Raises UserError: no file of tensors."""
        self._path = path
        self._entries: dict[str, Entry] | None = None
        if are_safetensors(str(path), path.name, opening(path)):
            self._entries = header_of(path)

    @cached_property
    def _pickled(self) -> dict[str, Array]:
        from sdbuild.modeling.pickles import tensors_in  # torch, which safetensors do without

        return {name: read() for name, (_, _, read) in tensors_in(self._path).items() if read is not None}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By name."""
        if self._entries is None:
            return {name: array.shape for name, array in self._pickled.items()}
        return {name: entry.shape for name, entry in self._entries.items()}

    def read(self, name: str) -> Array:
        """A tensor, float32. Raises UserError: of a type that no weight has, or not finite."""
        array = (self._stored(name) if self._entries is not None else self._pickled[name]).astype(np.float32)
        if not np.isfinite(array).all():
            raise SourceError(
                f"{self._path.name}: {name} holds infinities or NaNs; get the file again, or name another"
            )
        return array

    def _stored(self, name: str) -> Array:
        assert self._entries is not None
        entry = self._entries[name]
        content = np.fromfile(self._path, np.uint8, entry.end - entry.start, offset=entry.start)
        if entry.dtype in _WHOLE:
            return content.view(_WHOLE[entry.dtype]).reshape(entry.shape)
        if entry.dtype not in WEIGHT_TYPES:
            raise SourceError(type_problem(self._path.name, name, entry.dtype))
        return decoded(content, entry.dtype).reshape(entry.shape)
