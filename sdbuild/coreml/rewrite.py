"""Rewrite the weights of a package: one pass, one tensor at a time in memory, everything else as it was.

A weight is a ``const`` operation with a blob. A compressed one becomes a ``constexpr_lut_to_dense`` operation with the
same output name, in the form of the package's opset: up to iOS 17 the indices are packed bytes beside a ``shape``; from
iOS 18 they are a tensor of their own sub-byte type. Source: the operations' definitions in coremltools 9.0.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.coreml.blob import BlobReader, BlobType, BlobWriter
from sdbuild.coreml.mil import INLINE_LIMIT, set_type, shape_of
from sdbuild.coreml.package import WEIGHT_FILE, Package, write_package
from sdbuild.coreml.proto import MIL_pb2, Model_pb2

Array = np.ndarray[Any, np.dtype[Any]]

_INDEX_TYPES = {
    1: (MIL_pb2.UINT1, BlobType.UINT1),
    2: (MIL_pb2.UINT2, BlobType.UINT2),
    3: (MIL_pb2.UINT3, BlobType.UINT3),
    4: (MIL_pb2.UINT4, BlobType.UINT4),
    6: (MIL_pb2.UINT6, BlobType.UINT6),
    8: (MIL_pb2.UINT8, BlobType.UINT8),
}


@dataclass(frozen=True)
class Weight:
    """A float16 constant in the weight file: ``data`` is mapped from it, ``users`` are the operations that take it."""

    name: str
    data: Array
    users: frozenset[str]


@dataclass(frozen=True)
class LookupTable:
    """What replaces a weight: ``table`` float16 [2**bits], ``packed`` uint8 with an index of ``bits`` bits an element."""

    bits: int
    table: Array
    packed: Array


Encode = Callable[[Weight], LookupTable | None]


def rewrite(source: Package, path: Path, encode: Encode, progress: Callable[[int, int], None]) -> Package:
    """Write ``source`` anew at ``path``, each weight as ``encode`` says (None: as it is).

    Only weights that are plain float16 constants are offered to ``encode``. ``progress`` gets (bytes read, bytes in all).
    """
    spec = Model_pb2.Model()
    spec.CopyFrom(source.spec)
    if source.weights is None:
        return write_package(path, spec, None)
    reader, total = BlobReader(source.weights), source.weights.stat().st_size
    weights = path.with_suffix(".weights")
    with BlobWriter(weights) as writer:
        for function in spec.mlProgram.functions.values():
            block = function.block_specializations[function.opset]
            users = _users(block)
            for operation in block.operations:
                for value in blob_values(operation):
                    blob = reader.read(value.blobFileValue.offset)
                    progress(value.blobFileValue.offset, total)
                    encoded = None
                    if operation.type == "const" and value.type.tensorType.dataType == MIL_pb2.FLOAT16:
                        name = operation.outputs[0].name
                        data = blob.data.view(np.float16).reshape(shape_of(value.type))
                        encoded = encode(Weight(name, data, users.get(name, frozenset())))
                    if encoded is None:
                        value.blobFileValue.offset = writer.add(
                            blob.type, len(blob.data), [blob.data], blob.padding_bits
                        )
                    else:
                        _become_lookup(operation, function.opset, encoded, writer)
                        break  # the value is no longer part of the operation
    progress(total, total)
    return write_package(path, spec, weights)


def blob_values(operation: Any) -> Iterator[Any]:
    """Every value of an operation that lies in the weight file, in a fixed order: attributes, then inputs, by name."""
    for key in sorted(operation.attributes):
        if operation.attributes[key].HasField("blobFileValue"):
            yield operation.attributes[key]
    for key in sorted(operation.inputs):
        for argument in operation.inputs[key].arguments:
            if argument.HasField("value") and argument.value.HasField("blobFileValue"):
                yield argument.value


def _users(block: Any) -> dict[str, frozenset[str]]:
    """By value name, the types of the operations that take it."""
    found: dict[str, set[str]] = {}
    for operation in block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                found.setdefault(binding.name, set()).add(operation.type)
    return {name: frozenset(kinds) for name, kinds in found.items()}


def _become_lookup(operation: Any, opset: str, encoded: LookupTable, writer: BlobWriter) -> None:
    output = operation.outputs[0]
    shape = shape_of(output.type)
    operation.type = "constexpr_lut_to_dense"
    del operation.attributes["val"]
    if opset == "CoreML8":
        kind, blob_type = _INDEX_TYPES[encoded.bits]
        indices = operation.inputs["indices"].arguments.add().value
        table = operation.inputs["lut"].arguments.add().value
        table_shape = (*(1 for _ in shape), len(encoded.table), 1)
        set_type(indices.type, kind, shape)
        padding = len(encoded.packed) * 8 - int(np.prod(shape)) * encoded.bits
    else:
        indices, table = operation.attributes["indices"], operation.attributes["lut"]
        blob_type, padding, table_shape = BlobType.UINT8, 0, (len(encoded.table),)
        set_type(indices.type, MIL_pb2.UINT8, (len(encoded.packed),))
        sizes = operation.attributes["shape"]
        set_type(sizes.type, MIL_pb2.UINT32, (len(shape),))
        sizes.immediateValue.tensor.bytes.values = np.asarray(shape, "<u4").tobytes()
    set_type(table.type, MIL_pb2.FLOAT16, table_shape)
    indices.blobFileValue.fileName = WEIGHT_FILE
    indices.blobFileValue.offset = writer.add(blob_type, len(encoded.packed), [encoded.packed], padding)
    content = encoded.table.astype("<f2").tobytes()
    if len(encoded.table) < INLINE_LIMIT:
        table.immediateValue.tensor.bytes.values = content
    else:
        table.blobFileValue.fileName = WEIGHT_FILE
        table.blobFileValue.offset = writer.add(BlobType.FLOAT16, len(content), [content])
