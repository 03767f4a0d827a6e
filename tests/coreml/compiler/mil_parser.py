"""Reads the text of a program back into protobuf: what was printed can be compared with what it was printed from.

It knows both dialects, and values where coremltools puts them (bytes for float16 and 8 bits, and so on).
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from sdbuild.coreml.proto import MIL_pb2

T = TypeVar("T")

_TOKEN = re.compile(r'\s*("[^"]*"|->|-?0x[0-9a-f.]+p[+-]\d+|-?inf|-?\d+(?![\w.])|[A-Za-z_][\w@]*|[^\s\w])')
_TYPES = {
    "bool": "BOOL",
    "string": "STRING",
    **{f"fp{bits}": f"FLOAT{bits}" for bits in (16, 32, 64)},
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (4, 8, 16, 32, 64)},
    **{f"uint{bits}": f"UINT{bits}" for bits in (1, 2, 3, 6)},
}
_BYTES = {"FLOAT16": "<f2", "INT8": "<i1", "UINT8": "<u1", "UINT32": "<u4"}
_FIELDS = {
    "BOOL": "bools",
    "STRING": "strings",
    "FLOAT32": "floats",
    "FLOAT64": "doubles",
    "INT64": "longInts",
    "UINT64": "longInts",
}
_OPSETS = {"ios15": "CoreML5", "ios16": "CoreML6", "ios17": "CoreML7", "ios18": "CoreML8"}


def bare(program: Any) -> Any:
    """A program without what compiling adds to it or puts in order: build info, flexible shapes, sorted inputs."""
    result = MIL_pb2.Program()
    result.CopyFrom(program)
    result.attributes.clear()
    result.functions["main"].attributes.clear()
    result.functions["main"].inputs.sort(key=lambda value: value.name)
    return result


class Parser:
    """Recursive descent over the tokens of one file."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def program(self) -> Any:
        self._expect("program", "(")
        while self._next() != ")":
            pass
        program = MIL_pb2.Program(version=1)
        for key, value in self._attributes():
            program.attributes[key].CopyFrom(value)
        self._expect("{", "func", "main", "<")
        function = program.functions["main"]
        function.opset = _OPSETS[self._next()]
        self._expect(">", "(")
        for value_type, name in self._list(")", lambda: (self._type(), self._next())):
            function.inputs.add(name=name, type=value_type)
        for key, value in self._attributes():
            function.attributes[key].CopyFrom(value)
        self._expect("{")
        block = function.block_specializations[function.opset]
        while not self._accept("}"):
            self._operation(block.operations.add())
        self._expect("->", "(")
        block.outputs.extend(self._list(")", self._next))
        self._expect(";", "}")
        assert self._at == len(self._tokens), "text after the program"
        return program

    def _operation(self, operation: Any) -> None:
        while True:
            value_type = self._type()
            operation.outputs.add(name=self._next(), type=value_type)
            if not self._accept(","):
                break
        self._expect("=")
        operation.type = self._next()
        self._expect("(")
        for key, bindings in self._list(")", self._argument):
            operation.inputs[key].arguments.extend(bindings)
        for key, value in self._attributes():
            operation.attributes[key].CopyFrom(value)
        self._expect(";")

    def _argument(self) -> tuple[str, list[Any]]:
        key = self._next()
        self._expect("=")
        if self._accept("("):
            return key, self._list(")", self._binding)
        return key, [self._binding()]

    def _binding(self) -> Any:
        if self._tokens[self._at + 1] in ("<", "("):
            return MIL_pb2.Argument.Binding(value=self._value())
        return MIL_pb2.Argument.Binding(name=self._next())

    def _attributes(self) -> list[tuple[str, Any]]:
        return self._list("]", self._attribute) if self._accept("[") else []

    def _attribute(self) -> tuple[str, Any]:
        key = self._next()
        self._expect("=")
        return key, self._value()

    def _type(self) -> Any:
        kind = self._next()
        result = MIL_pb2.ValueType()
        if kind not in ("tensor", "list", "tuple", "dict"):
            result.tensorType.dataType = MIL_pb2.DataType.Value(_TYPES[kind])
            return result
        self._expect("<")
        if kind == "tensor":
            tensor = result.tensorType
            tensor.dataType = MIL_pb2.DataType.Value(_TYPES[self._next()])
            self._expect(",", "[")
            for size in self._list("]", self._next):
                _set_dimension(tensor.dimensions.add(), size)
            tensor.rank = len(tensor.dimensions)
            self._expect(">")
        elif kind == "list":
            result.listType.type.CopyFrom(self._type())
            self._expect(",")
            _set_dimension(result.listType.length, self._next())
            self._expect(">")
        elif kind == "tuple":
            result.tupleType.types.extend(self._list(">", self._type))
        else:
            key, value = self._list(">", self._type)
            result.dictionaryType.keyType.CopyFrom(key)
            result.dictionaryType.valueType.CopyFrom(value)
        return result

    def _value(self) -> Any:
        value = MIL_pb2.Value(type=self._type())
        self._expect("(")
        if self._accept("BLOBFILE"):
            self._expect("(", "path", "=")
            value.blobFileValue.fileName = self._value().immediateValue.tensor.strings.values[0]
            self._expect(",", "offset", "=")
            value.blobFileValue.offset = self._value().immediateValue.tensor.longInts.values[0]
            self._expect(")")
        else:
            self._content(value)
        self._expect(")")
        return value

    def _content(self, value: Any) -> None:
        kind = value.type.WhichOneof("type")
        immediate = value.immediateValue
        if kind == "tensorType":
            _set_elements(immediate.tensor, MIL_pb2.DataType.Name(value.type.tensorType.dataType), self._elements())
        elif kind == "tupleType":
            types = iter(value.type.tupleType.types)
            self._expect("(")
            immediate.tuple.values.extend(self._list(")", lambda: self._typed(next(types))))
        elif kind == "listType":
            self._expect("[")
            immediate.list.values.extend(self._list("]", lambda: self._typed(value.type.listType.type)))
        else:
            self._expect("{")
            for key, item in self._list("}", lambda: self._pair(value.type.dictionaryType)):
                immediate.dictionary.values.add(key=key, value=item)

    def _typed(self, value_type: Any) -> Any:
        value = MIL_pb2.Value(type=value_type)
        self._content(value)
        return value

    def _pair(self, dictionary: Any) -> tuple[Any, Any]:
        self._expect("{")
        key = self._typed(dictionary.keyType)
        self._expect(",")
        value = self._typed(dictionary.valueType)
        self._expect("}")
        return key, value

    def _elements(self) -> list[str]:
        if self._accept("["):
            return [element for part in self._list("]", self._elements) for element in part]
        return [self._next()]

    def _list(self, end: str, item: Callable[[], T]) -> list[T]:
        items: list[T] = []
        while not self._accept(end):
            if items:
                self._expect(",")
            items.append(item())
        return items

    def _next(self) -> str:
        self._at += 1
        return str(self._tokens[self._at - 1])

    def _accept(self, token: str) -> bool:
        found = self._tokens[self._at] == token
        self._at += found
        return bool(found)

    def _expect(self, *tokens: str) -> None:
        for token in tokens:
            found = self._next()
            assert found == token, f"{' '.join(self._tokens[max(0, self._at - 20) : self._at])}: not {token}"


def _set_dimension(dimension: Any, size: str) -> None:
    if size == "?":
        dimension.unknown.variadic = False
    else:
        dimension.constant.size = int(size)


def _set_elements(tensor: Any, kind: str, elements: list[str]) -> None:
    if kind == "STRING":
        values: list[Any] = [element[1:-1] for element in elements]
    elif kind == "BOOL":
        values = [{"true": True, "false": False}[element] for element in elements]
    else:
        values = [float.fromhex(element) if "FLOAT" in kind else int(element) for element in elements]
    if kind in _BYTES:
        tensor.bytes.values = np.array(values, _BYTES[kind]).tobytes()
        return
    field = getattr(tensor, _FIELDS.get(kind, "ints"))
    field.SetInParent()
    field.values.extend(values)
