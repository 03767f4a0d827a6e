"""Rewrite the weights of a package: one pass, few tensors at a time in memory, everything else as it was.

A weight is a ``const`` operation with a blob. A compressed one becomes a ``constexpr_lut_to_dense`` operation with the
same output name, in the form of the package's opset: up to iOS 17 the indices are packed bytes beside a ``shape``, with
one table; from iOS 18 they are a tensor of their own sub-byte type, with a table for each group of channels. Source: the
operations' definitions in coremltools 9.0.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.blob import Blob, BlobReader, BlobType, BlobWriter
from sdbuild.coreml.mil import INLINE_LIMIT, set_type, shape_of
from sdbuild.coreml.package import WEIGHT_FILE, Package, write_package
from sdbuild.coreml.proto import MIL_pb2, Model_pb2
from sdbuild.coreml.users import User, users_of

_INDEX_TYPES = {
    1: (MIL_pb2.UINT1, BlobType.UINT1),
    2: (MIL_pb2.UINT2, BlobType.UINT2),
    3: (MIL_pb2.UINT3, BlobType.UINT3),
    4: (MIL_pb2.UINT4, BlobType.UINT4),
    6: (MIL_pb2.UINT6, BlobType.UINT6),
    8: (MIL_pb2.UINT8, BlobType.UINT8),
}
_FLOATS = {MIL_pb2.FLOAT16: ("<f2", BlobType.FLOAT16), MIL_pb2.FLOAT32: ("<f4", BlobType.FLOAT32)}
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


@dataclass(frozen=True)
class LookupTable:
    """What replaces a weight: ``tables`` of its data type [groups, 2**bits], one for each of as many equal runs of ``axis``.

    ``packed`` is uint8 with an index of ``bits`` bits for each element in C order, from the lowest bit on.
    """

    bits: int
    tables: Array
    packed: Array
    axis: int = 0


Encode = Callable[[Weight], LookupTable | None]


def weights_of(source: Package) -> list[Weight]:
    """The weights that ``rewrite`` would offer, in the same order; nothing of them is read yet."""
    if source.weights is None:
        return []
    return [weight for _, _, weight in _constants(source.spec, BlobReader(source.weights)) if weight is not None]


def rewrite(
    source: Package, path: Path, encode: Encode, progress: Callable[[int, int], None], workers: int = 1
) -> Package:
    """Write ``source`` anew at ``path``, each weight as ``encode`` says (None: as it is).

    Only plain float constants are offered to ``encode``, which ``workers`` threads call side by side; results are written
    in the program's order, so that the bytes do not depend on their number. ``progress`` gets (bytes read, bytes in all).
    """
    spec = Model_pb2.Model()
    spec.CopyFrom(source.spec)
    if source.weights is None:
        return write_package(path, spec, None)
    reader, total = BlobReader(source.weights), source.weights.stat().st_size
    weights = path.with_suffix(".weights")
    with BlobWriter(weights) as writer, ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Any, Blob, Future[LookupTable | None] | None, Any]] = deque()
        ahead = 0

        def write_next() -> int:
            operation, blob, encoding, (value, opset) = waiting.popleft()
            encoded = encoding.result() if encoding is not None else None
            progress(value.blobFileValue.offset, total)
            if encoded is None:
                value.blobFileValue.offset = writer.add(blob.type, len(blob.data), [blob.data], blob.padding_bits)
            else:
                _become_lookup(operation, opset, encoded, writer)
            reader.release(blob)
            return len(blob.data)

        try:
            for (operation, opset), value, weight in _constants(spec, reader):
                blob = reader.read(value.blobFileValue.offset)
                encoding = pool.submit(encode, weight) if weight is not None else None
                waiting.append((operation, blob, encoding, (value, opset)))
                ahead += len(blob.data)
                while ahead > _AHEAD:
                    ahead -= write_next()
            while waiting:
                write_next()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    progress(total, total)
    return write_package(path, spec, weights)


def _constants(spec: Any, reader: BlobReader) -> Iterator[tuple[tuple[Any, str], Any, Weight | None]]:
    """Every value in the weight file: its operation and opset, the value, and the weight that it is, if it is one."""
    for function in spec.mlProgram.functions.values():
        block = function.block_specializations[function.opset]
        users = users_of(block)
        for operation in block.operations:
            for value in list(blob_values(operation)):  # whoever takes one may change the operation before the next
                weight = None
                kind = value.type.tensorType.dataType
                if operation.type == "const" and kind in _FLOATS:
                    name = operation.outputs[0].name
                    data = reader.read(value.blobFileValue.offset).data.view(_FLOATS[kind][0])
                    weight = Weight(name, data.reshape(shape_of(value.type)), users.get(name, ()))
                yield (operation, function.opset), value, weight


def blob_values(operation: Any) -> Iterator[Any]:
    """Every value of an operation that lies in the weight file, in a fixed order: attributes, then inputs, by name."""
    for key in sorted(operation.attributes):
        if operation.attributes[key].HasField("blobFileValue"):
            yield operation.attributes[key]
    for key in sorted(operation.inputs):
        for argument in operation.inputs[key].arguments:
            if argument.HasField("value") and argument.value.HasField("blobFileValue"):
                yield argument.value


def _become_lookup(operation: Any, opset: str, encoded: LookupTable, writer: BlobWriter) -> None:
    output = operation.outputs[0]
    shape, float_type = shape_of(output.type), output.type.tensorType.dataType
    groups, entries = encoded.tables.shape
    operation.type = "constexpr_lut_to_dense"
    del operation.attributes["val"]
    if opset == "CoreML8":
        kind, blob_type = _INDEX_TYPES[encoded.bits]
        indices = operation.inputs["indices"].arguments.add().value
        table = operation.inputs["lut"].arguments.add().value
        counts = [groups if axis == encoded.axis else 1 for axis in range(len(shape))]
        table_shape = (*counts, entries, 1)
        set_type(indices.type, kind, shape)
        padding = len(encoded.packed) * 8 - int(np.prod(shape)) * encoded.bits
    else:
        if groups > 1 or encoded.bits == 3:
            raise ValueError(
                f"{output.name}: {groups} tables of {encoded.bits} bits in {opset}, which has no form for them"
            )
        indices, table = operation.attributes["indices"], operation.attributes["lut"]
        blob_type, padding, table_shape = BlobType.UINT8, 0, (entries,)
        set_type(indices.type, MIL_pb2.UINT8, (len(encoded.packed),))
        sizes = operation.attributes["shape"]
        set_type(sizes.type, MIL_pb2.UINT32, (len(shape),))
        sizes.immediateValue.tensor.bytes.values = np.asarray(shape, "<u4").tobytes()
    set_type(table.type, float_type, table_shape)
    indices.blobFileValue.fileName = WEIGHT_FILE
    indices.blobFileValue.offset = writer.add(blob_type, len(encoded.packed), [encoded.packed], padding)
    little_endian, table_blob = _FLOATS[float_type]
    content = encoded.tables.astype(little_endian)
    if content.size >= INLINE_LIMIT:
        table.blobFileValue.fileName = WEIGHT_FILE
        table.blobFileValue.offset = writer.add(table_blob, content.nbytes, [content])
    elif float_type == MIL_pb2.FLOAT16:
        table.immediateValue.tensor.bytes.values = content.tobytes()
    else:
        table.immediateValue.tensor.floats.values.extend(content.reshape(-1).tolist())
