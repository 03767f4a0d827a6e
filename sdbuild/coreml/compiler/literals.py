"""Types and values of MIL, as the text format writes them.

A value is its type, then its content in brackets: ``tensor<int32, [2]>([1, 2])``. Up to specification 8 a scalar is a
tensor without dimensions, ``tensor<fp16, []>(0x1p+0)``; from 9 on (``program(1.3)``) it goes bare, ``fp16(0x1p+0)``.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from sdbuild.coreml.compiler.errors import CompileError, UnverifiedError
from sdbuild.coreml.proto import MIL_pb2


@dataclass(frozen=True)
class DataType:
    """An element type: its name in MIL text, its name in metadata, and how raw bytes hold it (None: not known)."""

    text: str
    title: str
    numpy: str | None = None


DATA_TYPES = {
    MIL_pb2.BOOL: DataType("bool", "Bool"),
    MIL_pb2.STRING: DataType("string", "String"),
    MIL_pb2.FLOAT16: DataType("fp16", "Float16", "<f2"),
    MIL_pb2.FLOAT32: DataType("fp32", "Float32", "<f4"),
    MIL_pb2.FLOAT64: DataType("fp64", "Float64", "<f8"),
    MIL_pb2.INT4: DataType("int4", "Int4"),
    MIL_pb2.INT8: DataType("int8", "Int8", "<i1"),
    MIL_pb2.INT16: DataType("int16", "Int16", "<i2"),
    MIL_pb2.INT32: DataType("int32", "Int32", "<i4"),
    MIL_pb2.INT64: DataType("int64", "Int64", "<i8"),
    MIL_pb2.UINT1: DataType("uint1", "UInt1"),
    MIL_pb2.UINT2: DataType("uint2", "UInt2"),
    MIL_pb2.UINT3: DataType("uint3", "UInt3"),
    MIL_pb2.UINT4: DataType("uint4", "UInt4"),
    MIL_pb2.UINT6: DataType("uint6", "UInt6"),
    MIL_pb2.UINT8: DataType("uint8", "UInt8", "<u1"),
    MIL_pb2.UINT16: DataType("uint16", "UInt16", "<u2"),
    MIL_pb2.UINT32: DataType("uint32", "UInt32", "<u4"),
    MIL_pb2.UINT64: DataType("uint64", "UInt64", "<u8"),
}
"""Every element type that was seen in compiled programs or follows their pattern; 8-bit floats and bfloat16 were not."""


def data_type(code: int) -> DataType:
    """The element type with this protobuf code.

    Raises:
        UnverifiedError: not one of `DATA_TYPES`.
    """
    try:
        return DATA_TYPES[code]
    except KeyError:
        name = MIL_pb2.DataType.Name(code) if code in MIL_pb2.DataType.values() else str(code)
        raise UnverifiedError(f"the element type {name}") from None


def hex_float(value: float) -> str:
    """C99's ``%a``, normalized: ``0x1.8p+1``, ``-0x0p+0``, ``0x1p-24`` (also where float16 is subnormal), ``inf``."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value == 0:
        return "-0x0p+0" if math.copysign(1, value) < 0 else "0x0p+0"
    fraction, exponent = math.frexp(value)
    digits = (2 * fraction).hex().partition("p")[0].rstrip("0").rstrip(".")
    return f"{digits}p{exponent - 1:+d}"


def quote(text: str) -> str:
    """A string literal.

    Raises:
        UnverifiedError: a character that would need an escape, of which none was ever seen.
    """
    if not text.isprintable() or '"' in text or "\\" in text:
        raise UnverifiedError(
            f"the string {text!r}: how quotes, backslashes and control characters are escaped is not known"
        )
    return f'"{text}"'


_FORMATS: dict[str, Callable[[Any], str]] = {
    "bool": lambda value: "true" if value else "false",
    "string": quote,
    "fp16": hex_float,
    "fp32": hex_float,
    "fp64": hex_float,
}
"""How an element is written, by the name of its type; the others are integers."""

_FIELDS = {"bool": {"bools"}, "string": {"strings"}, "fp16": {"bytes"}, "fp32": {"floats", "bytes"}}
_FIELDS |= {"fp64": {"doubles", "bytes"}}
_INTEGER_FIELDS = {"ints", "longInts", "bytes"}
"""Where the elements of a type may stand, by its name; the others are integers."""

_MOST_DIMENSIONS = 16
_MOST_EMPTY = 1 << 16
"""Brackets that are written for a constant without elements: of the sizes beside a zero, any is possible."""


class Text:
    """The printer of types and values; ``bare_scalars`` as in ``program(1.3)``."""

    def __init__(self, bare_scalars: bool) -> None:
        """Choose the dialect."""
        self._bare_scalars = bare_scalars

    def scalar_type(self, name: str) -> str:
        """The type of a single element: ``string`` or ``tensor<string, []>``."""
        return name if self._bare_scalars else f"tensor<{name}, []>"

    def type(self, value_type: Any) -> str:
        """A ``ValueType``: tensor, list, tuple or dictionary.

        Raises:
            UnverifiedError: a state, a tensor of unknown rank or with attributes, an element type not in `DATA_TYPES`.
        """
        kind = value_type.WhichOneof("type")
        if kind == "tensorType":
            return self._tensor_type(value_type.tensorType)
        if kind == "listType":
            inner = value_type.listType
            return f"list<{self.type(inner.type)}, {_dimension(inner.length)}>"
        if kind == "tupleType":
            return f"tuple<{', '.join(map(self.type, value_type.tupleType.types))}>"
        if kind == "dictionaryType":
            inner = value_type.dictionaryType
            return f"dict<{self.type(inner.keyType)}, {self.type(inner.valueType)}>"
        raise UnverifiedError("a state" if kind == "stateType" else "a value without a type")

    def _tensor_type(self, tensor: Any) -> str:
        name = data_type(tensor.dataType).text
        if tensor.rank != len(tensor.dimensions) or tensor.attributes:
            raise UnverifiedError("a tensor type of unknown rank or with attributes")
        if not tensor.dimensions:
            return self.scalar_type(name)
        return f"tensor<{name}, [{', '.join(map(_dimension, tensor.dimensions))}]>"

    def string(self, text: str) -> str:
        """A string value: ``tensor<string, []>("text")``."""
        return f"{self.scalar_type('string')}({quote(text)})"

    def value(self, value: Any) -> str:
        """A ``Value``: ``type(content)``.

        Raises:
            UnverifiedError: a form never seen compiled.
            CompileError: content that does not fit its type.
        """
        if value.docString:
            raise UnverifiedError("the documentation string of a value")
        if value.HasField("blobFileValue"):
            blob = value.blobFileValue
            offset = f"{self.scalar_type('uint64')}({blob.offset})"
            content = f"BLOBFILE(path = {self.string(blob.fileName)}, offset = {offset})"
        else:
            content = _content(value)
        return f"{self.type(value.type)}({content})"


def _dimension(dimension: Any) -> str:
    if dimension.HasField("constant"):
        return str(dimension.constant.size)
    if dimension.unknown.variadic:
        raise UnverifiedError("a variadic dimension")
    return "?"


def _content(value: Any) -> str:
    """An immediate value without its type; what it holds is written without types, too."""
    immediate = value.immediateValue
    kind = immediate.WhichOneof("value")
    if kind == "tensor":
        return _tensor(value.type.tensorType, immediate.tensor)
    if kind == "list":
        return f"[{', '.join(map(_content, immediate.list.values))}]"
    if kind == "tuple":
        return f"({', '.join(map(_content, immediate.tuple.values))})"
    if kind == "dictionary":
        pairs = (f"{{{_content(pair.key)}, {_content(pair.value)}}}" for pair in immediate.dictionary.values)
        return f"{{{', '.join(pairs)}}}"
    raise CompileError("a value without content")


def _tensor(tensor_type: Any, tensor: Any) -> str:
    """The elements, nested by the tensor's shape."""
    element = data_type(tensor_type.dataType)
    if not all(dimension.HasField("constant") for dimension in tensor_type.dimensions):
        raise UnverifiedError("a tensor constant with an unknown dimension")
    shape = [dimension.constant.size for dimension in tensor_type.dimensions]
    if len(shape) > _MOST_DIMENSIONS or (0 in shape and math.prod(filter(None, shape)) > _MOST_EMPTY):
        raise UnverifiedError(f"a constant of the shape {shape}")
    elements = _elements(element, tensor)
    if len(elements) != math.prod(shape):
        raise CompileError(f"a constant of shape {shape} holds {len(elements)} elements")
    return _nest(map(_FORMATS.get(element.text, str), elements), shape)


def _elements(element: DataType, tensor: Any) -> list[Any]:
    field = tensor.WhichOneof("value")
    if field is None:
        return []
    if field not in _FIELDS.get(element.text, _INTEGER_FIELDS):
        raise CompileError(f"a constant of type {element.text} is given as {field}")
    values = getattr(tensor, field).values
    if field != "bytes":
        return list(values)
    if element.numpy is None:
        raise UnverifiedError(f"elements of type {element.text} written into the program instead of the weight file")
    if len(values) % np.dtype(element.numpy).itemsize:
        raise CompileError(f"a constant of type {element.text} holds {len(values)} bytes")
    elements: list[Any] = np.frombuffer(values, element.numpy).tolist()
    return elements


def _nest(elements: Iterator[str], shape: list[int]) -> str:
    if not shape:
        return next(elements)
    if len(shape) == 1:
        return f"[{', '.join(islice(elements, shape[0]))}]"
    return f"[{', '.join(_nest(elements, shape[1:]) for _ in range(shape[0]))}]"
