"""The precision strings of ``metadata.json``: which element types a model computes with, and which it stores."""

import math
from collections.abc import Iterator
from typing import Any

from sdbuild.coreml.compiler.errors import UnverifiedError
from sdbuild.coreml.compiler.literals import data_type
from sdbuild.coreml.compiler.program import Main, inline_values
from sdbuild.coreml.proto import MIL_pb2

_NOT_COMPUTED_WITH = frozenset({MIL_pb2.BOOL, MIL_pb2.STRING})
_PACKED = {"constexpr_lut_to_dense": "indices", "constexpr_sparse_to_dense": "mask"}
_PALETTE_INDICES = {"constexpr_lut_to_dense": "indices", "constexpr_lut_to_sparse": "indices_nonzero_data"}
_INDEX_BITS = {
    MIL_pb2.UINT1: 1,
    MIL_pb2.UINT2: 2,
    MIL_pb2.UINT3: 3,
    MIL_pb2.UINT4: 4,
    MIL_pb2.UINT6: 6,
    MIL_pb2.UINT8: 8,
}


def compute_precision(main: Main) -> str | None:
    """The types of the function's inputs and of every operation's outputs, but for booleans and strings."""
    results = (output for operation in main.operations for output in operation.outputs)
    codes = {code for value in (*main.inputs, *results) for code in _element_types(value.type)}
    return _mixture({data_type(code).title for code in codes - _NOT_COMPUTED_WITH})


def storage_precision(main: Main) -> str | None:
    """The types in the weight file, and the ways in which weights are compressed; None for a model without either."""
    return _mixture({title for operation in main.operations for title in _stored(operation)})


def _mixture(titles: set[str]) -> str | None:
    if len(titles) > 1:
        return f"Mixed ({', '.join(sorted(titles))})"
    return next(iter(titles), None)


def _element_types(value_type: Any) -> Iterator[int]:
    kind = value_type.WhichOneof("type")
    if kind == "tensorType":
        yield value_type.tensorType.dataType
    elif kind == "listType":
        yield from _element_types(value_type.listType.type)
    elif kind == "tupleType":
        for inner in value_type.tupleType.types:
            yield from _element_types(inner)
    elif kind == "dictionaryType":
        yield from _element_types(value_type.dictionaryType.keyType)
        yield from _element_types(value_type.dictionaryType.valueType)


def _stored(operation: Any) -> Iterator[str]:
    """What one operation takes from the weight file, and how.

    The indices and masks of the constexpr operations of ios16, packed bytes among the attributes, are no type of their
    own; those of ios18, inputs of types made for them, are.
    """
    packed = _PACKED.get(operation.type)
    attributes = (value for key, value in operation.attributes.items() if key != packed)
    for value in (*attributes, *inline_values(operation)):
        if value.HasField("blobFileValue"):
            yield data_type(value.type.tensorType.dataType).title
    if operation.type in _PALETTE_INDICES:
        yield f"Palettized ({_palette_bits(operation)} bits)"
    if operation.type.startswith("constexpr_") and "sparse" in operation.type:
        yield "Sparse"


def _palette_bits(operation: Any) -> int:
    """Bits of an index: before ios18 a palette has as many entries as an index can name, since then its type says it."""
    if "lut" in operation.attributes:
        dimensions = operation.attributes["lut"].type.tensorType.dimensions
        entries = math.prod(int(dimension.constant.size) for dimension in dimensions)
        return (entries - 1).bit_length()
    role = _PALETTE_INDICES[operation.type]
    for binding in operation.inputs[role].arguments:
        bits = _INDEX_BITS.get(binding.value.type.tensorType.dataType)
        if bits is not None:
            return bits
    raise UnverifiedError(f"{operation.type} with computed indices")
