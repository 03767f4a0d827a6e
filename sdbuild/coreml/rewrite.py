"""Rewrite the weights of a package: one pass, few tensors at a time in memory, everything else as it was.

A weight is a ``const`` operation with a blob. A compressed one becomes one or more ``constexpr_*`` operations, the last of
which has the same output name.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbuild.arrays import Array
from sdbuild.coreml.blob import Blob, BlobReader, BlobWriter
from sdbuild.coreml.constexpr import write_encoding
from sdbuild.coreml.encodings import Dense, Encoding
from sdbuild.coreml.mil import shape_of
from sdbuild.coreml.package import Package, write_package
from sdbuild.coreml.proto import MIL_pb2, Model_pb2
from sdbuild.coreml.users import User, users_of

_FLOATS = {MIL_pb2.FLOAT16: "<f2", MIL_pb2.FLOAT32: "<f4"}
_AHEAD = 512 << 20
"""Bytes of weights that may be encoded and wait for their turn to be written, or be worked on."""


@dataclass(frozen=True)
class Weight:
    """A float constant in the weight file.

    ``data`` is float16 or float32, mapped from the file, read-only; ``users`` are the operations that take it.
    """

    name: str
    data: Array
    users: tuple[User, ...]


Encode = Callable[[Weight], Encoding]
"""The form that a weight gets: ``Dense(weight.data)``, of the very same array, leaves it as it is."""


def weights_of(source: Package) -> list[Weight]:
    """The weights that ``rewrite`` would offer, in the same order; nothing of them is read yet."""
    if source.weights is None:
        return []
    reader = BlobReader(source.weights)
    found = (constant.weight for block in _blocks(source.spec) for constant in _constants(block, reader))
    return [weight for weight in found if weight is not None]


def rewrite(
    source: Package, path: Path, encode: Encode, progress: Callable[[int, int], None], workers: int = 1
) -> Package:
    """Write ``source`` anew at ``path``, each weight as ``encode`` says.

    Only plain float constants are offered to ``encode``, which ``workers`` threads call side by side; results are written
    in the program's order, so that the bytes do not depend on their number. ``progress`` gets (bytes read, bytes in all).
    """
    spec = Model_pb2.Model()
    spec.CopyFrom(source.spec)
    if source.weights is None:
        return write_package(path, spec, None)
    blocks = _blocks(spec)
    reader, total = BlobReader(source.weights), source.weights.stat().st_size
    weights = path.with_suffix(".weights")
    with BlobWriter(weights) as writer, ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[_Constant, Blob, Future[Encoding] | None]] = deque()
        ahead = 0

        def write_next() -> int:
            constant, blob, encoding = waiting.popleft()
            encoded = encoding.result() if encoding is not None else None
            progress(constant.value.blobFileValue.offset, total)
            if encoded is None or constant.is_as(encoded):
                offset = writer.add(blob.type, len(blob.data), [blob.data], blob.padding_bits)
                constant.value.blobFileValue.offset = offset
            else:
                constant.become(encoded, writer)
            reader.release(blob)
            return len(blob.data)

        try:
            for constant in (constant for block in blocks for constant in _constants(block, reader)):
                blob = reader.read(constant.value.blobFileValue.offset)
                encoding = pool.submit(encode, constant.weight) if constant.weight is not None else None
                waiting.append((constant, blob, encoding))
                ahead += len(blob.data)
                while ahead > _AHEAD:
                    ahead -= write_next()
            while waiting:
                write_next()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    for block in blocks:
        block.insert()
    progress(total, total)
    return write_package(path, spec, weights)


class _Block:
    """The operations of a function, and what is to be inserted among them."""

    def __init__(self, function: Any) -> None:
        self.opset = str(function.opset)
        self.before: dict[str, list[Any]] = {}
        """Operations to insert before the one that has an output of that name."""
        block = function.block_specializations[function.opset]
        self.operations = block.operations
        self.users = users_of(block)
        self.names = frozenset(output.name for operation in self.operations for output in operation.outputs)

    def insert(self) -> None:
        """Insert them. Operations are copies afterwards."""
        if self.before:
            whole = MIL_pb2.Block()
            for operation in self.operations:
                for output in operation.outputs[:1]:
                    whole.operations.extend(self.before.get(output.name, []))
                whole.operations.append(operation)
            del self.operations[:]
            self.operations.extend(whole.operations)


@dataclass(frozen=True)
class _Constant:
    """A value in the weight file."""

    operation: Any
    value: Any
    """The operation's attribute or input."""
    weight: Weight | None
    """The weight that it is, if it is one."""
    block: _Block

    def is_as(self, encoding: Encoding) -> bool:
        """Whether it has that form already."""
        return isinstance(encoding, Dense) and self.weight is not None and encoding.data is self.weight.data

    def become(self, encoding: Encoding, writer: BlobWriter) -> None:
        output = self.operation.outputs[0]
        *before, last = write_encoding(encoding, output, self.block.opset, writer, self.block.names)
        if "name" in self.operation.attributes:
            last.attributes["name"].CopyFrom(self.operation.attributes["name"])
        last.outputs[0].CopyFrom(output)
        if before:
            self.block.before[output.name] = before
        self.operation.CopyFrom(last)


def _constants(block: _Block, reader: BlobReader) -> Iterator[_Constant]:
    """Every value in the weight file, in the program's order.

    Whoever takes one may change it and its operation before the next.
    """
    for operation in block.operations:
        for value in list(blob_values(operation)):
            weight = None
            kind = value.type.tensorType.dataType
            if operation.type == "const" and kind in _FLOATS:
                name = operation.outputs[0].name
                data = reader.read(value.blobFileValue.offset).data.view(_FLOATS[kind])
                weight = Weight(name, data.reshape(shape_of(value.type)), block.users.get(name, ()))
            yield _Constant(operation, value, weight, block)


def _blocks(spec: Any) -> list[_Block]:
    return [_Block(function) for function in spec.mlProgram.functions.values()]


def blob_values(operation: Any) -> Iterator[Any]:
    """Every value of an operation that lies in the weight file, in a fixed order: attributes, then inputs, by name."""
    for key in sorted(operation.attributes):
        if operation.attributes[key].HasField("blobFileValue"):
            yield operation.attributes[key]
    for key in sorted(operation.inputs):
        for argument in operation.inputs[key].arguments:
            if argument.HasField("value") and argument.value.HasField("blobFileValue"):
                yield argument.value
