"""Constants of a program: read from the weight file, decoded when first needed, kept within a budget."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sdbuild.arrays import Array
from sdbuild.coreml.blob import BlobReader
from sdbuild.coreml.runtime.constexpr import DECODERS, DecodeError
from sdbuild.coreml.runtime.errors import ModelError, UnsupportedError
from sdbuild.coreml.runtime.packing import packed_bytes, unpack
from sdbuild.coreml.runtime.program import NUMPY_TYPES, SUB_BYTE_BITS, Immediate, Operation, Stored, TensorType
from sdbuild.coreml.runtime.storage import Storage

_BLOB_NAMES = {"fp16": "FLOAT16", "fp32": "FLOAT32"}


class WeightFile:
    """The weight file of a model; it may be missing where the program stores nothing in it."""

    def __init__(self, path: Path | None) -> None:
        """Map the file."""
        self._reader = BlobReader(path) if path is not None else None

    def release(self) -> None:
        """Give the memory of what was read back to the system: it is in the file, and read again where touched."""
        if self._reader is not None:
            self._reader.release()

    def holds(self, array: Array) -> bool:
        """Whether an array is a view of the file, and not a copy of something in it."""
        return self._reader is not None and self._reader.holds(array)

    def reader(self, stored: Stored, where: str) -> Callable[[], Array]:
        """A function that reads the tensor at an offset; that it is there and fits is checked at once.

        What it returns is mapped from the file; sub-byte integers are unpacked.

        Raises:
            ModelError: no weight file, another data type than the program's, or another size.
            BlobError: no record at the offset, or a file cut short.
        """
        if self._reader is None:
            raise ModelError(f"{where}: its values are in a weight file, and the model has none")
        dtype, shape = stored.type.dtype, stored.type.shape
        if dtype not in NUMPY_TYPES or None in shape:
            raise UnsupportedError(f"{where}: {stored.type} in the weight file is not supported")
        blob, count = self._reader.read(stored.offset), stored.type.elements
        expected = _BLOB_NAMES.get(dtype, dtype.upper())
        if blob.type.name != expected:
            raise ModelError(f"{where}: the program says {dtype}, the weight file {blob.type.name.lower()}")
        size = packed_bytes(dtype, count) if dtype in SUB_BYTE_BITS else count * np.dtype(NUMPY_TYPES[dtype]).itemsize
        if blob.data.size != size:
            raise ModelError(f"{where}: {stored.type} takes {size} bytes, the weight file has {blob.data.size}")
        data = blob.data.view(np.ndarray)
        if dtype in SUB_BYTE_BITS:
            return lambda: unpack(data, dtype, count).reshape(shape)
        return lambda: data.view(NUMPY_TYPES[dtype]).reshape(shape)


@dataclass(frozen=True)
class Source:
    """A constant that can be had at any time: its type, and a function that reads or decodes it.

    ``load`` returns an array of the type's shape, or a text. ``immediate`` ones are in memory anyway. ``widened`` returns the
    same numbers in float32, where that is quicker than to widen what ``load`` returns.
    """

    type: TensorType
    load: Callable[[], Array | str]
    immediate: bool = False
    widened: Callable[[], Array] | None = None

    def array(self, wide: bool = False) -> Array:
        """The values of a tensor; ``wide``: float32 will do as well for the type's float16.

        Raises:
            ModelError: it is a text.
        """
        if wide and self.widened is not None:
            return self.widened()
        value = self.load()
        if not isinstance(value, np.ndarray):
            raise ModelError(f"the text {value!r} stands where a tensor is expected")
        return value


def constant_source(constant: Immediate | Stored, file: WeightFile, where: str) -> Source:
    """The source of a constant written in the program or in the weight file."""
    if isinstance(constant, Immediate):
        value = constant.value
        return Source(constant.type, lambda: value, immediate=True)
    return Source(constant.type, file.reader(constant, where))


def decoded_source(operation: Operation, output: int, arguments: Mapping[str, Source]) -> Source:
    """The source of an output of a ``constexpr_*`` operation, given those of its arguments."""
    decoder = DECODERS[operation.type]
    declared = operation.outputs[output].type
    if None in declared.shape or declared.dtype not in NUMPY_TYPES:
        raise ModelError(f"{operation}: weights cannot be of the type {declared}")

    def decoded(widen: bool) -> Array:
        try:
            given = {name: source.load() for name, source in arguments.items()}
            if widen:
                given["lut"] = np.asarray(given["lut"], np.float32)
            value = decoder(**given)[output]
        except (DecodeError, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise ModelError(f"{operation}: {error}") from None
        if value.shape != declared.shape or value.dtype != (np.float32 if widen else NUMPY_TYPES[declared.dtype]):
            raise ModelError(f"{operation}: said to be {declared}, but decodes to {value.dtype} {list(value.shape)}")
        return value

    # A palette of 64 entries is widened in no time, the weights that are looked up in it are not.
    looked_up = operation.type == "constexpr_lut_to_dense" and declared.dtype == "fp16"
    table = arguments["lut"].type.dtype if looked_up and "lut" in arguments else None
    return Source(declared, partial(decoded, False), widened=partial(decoded, True) if table == "fp16" else None)


class Cache:
    """Decoded weights on the device, at most ``budget`` bytes of them (None: no limit).

    A model is run from front to back again and again, for which evicting the least recently used would keep nothing:
    what fits is kept, the rest decoded at every use and dropped after it. ``reserve`` is what one operation may need.
    Tensors that are used as they lie in the file take no memory of ours, and are not counted.
    """

    def __init__(self, storage: Storage, file: WeightFile, budget: int | None, reserve: int) -> None:
        """Start empty."""
        self._storage = storage
        self._file = file
        self._budget = _Budget(None if budget is None else max(0, budget - reserve))
        self._loaders: dict[Source, _Loader] = {}

    def loader(self, source: Source) -> Callable[[], torch.Tensor]:
        """A function that returns the tensor of ``source``."""
        if source not in self._loaders:
            self._loaders[source] = _Loader(source, self._storage, self._file, self._budget)
        return self._loaders[source]


@dataclass
class _Budget:
    left: int | None

    def take(self, size: int) -> bool:
        """Whether ``size`` more bytes may be kept."""
        if self.left is None:
            return True
        if size > self.left:
            return False
        self.left -= size
        return True


class _Loader:
    """A weight, read or decoded when it is called for; it is in no circle of references, and goes when its model does."""

    def __init__(self, source: Source, storage: Storage, file: WeightFile, budget: _Budget) -> None:
        self._source, self._storage, self._file, self._budget = source, storage, file, budget
        self._kept: torch.Tensor | None = None

    def __call__(self) -> torch.Tensor:
        if self._kept is not None:
            return self._kept
        wide = self._storage.dtype(self._source.type.dtype) is torch.float32
        array = self._source.array(wide)
        tensor = self._storage.constant(array, self._source.type.dtype)
        if not (self._file.holds(array) and tensor.data_ptr() == array.ctypes.data):
            self._file.release()
            if not self._budget.take(tensor.nbytes):
                return tensor
        self._kept = tensor
        return tensor
