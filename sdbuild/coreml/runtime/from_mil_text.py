"""Read a program from ``model.mil``, the text inside a ``.mlmodelc``.

The grammar is what Apple's compiler writes for opsets iOS 15 to 18: one statement a line, scalars as
``tensor<T, []>(v)`` in ``program(1.0)`` and as ``T(v)`` in ``program(1.3)``, floats in hexadecimal,
``BLOBFILE(path, offset)`` for weights.
"""

import re
from typing import NoReturn

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.package import WEIGHT_FILE
from sdbuild.coreml.runtime.errors import ModelError, UnsupportedError
from sdbuild.coreml.runtime.program import (
    NUMPY_TYPES,
    Argument,
    Block,
    Constant,
    Function,
    Immediate,
    Operation,
    Stored,
    TensorType,
    Value,
)

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_][\w.$-]*")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TENSOR = re.compile(r"tensor<\s*(\w+)\s*,\s*\[([^\]]*)\]\s*>")
_INTEGER = re.compile(r"[0-9]+")
_PAYLOAD = re.compile(r"[^()\"]*")
_NUMBER = re.compile(r"[^\[\],\s]+")
_DIGITS = 20  # of the largest integer, 2**64 - 1
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_TRUTH = {"true": True, "false": False}


def parse(text: str, where: str, name: str = "main") -> Function:
    """A function of the program in ``text``; ``where`` begins the messages.

    Raises:
        ModelError: no such function, not such a text, or one cut short.
        UnsupportedError: a construct the runtime does not know.
    """
    functions = _Parser(text, where).program()
    if name not in functions:
        raise ModelError(f"{where}: the program has no function {name!r} (it has: {', '.join(sorted(functions))})")
    return functions[name]


class _Parser:
    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._at = 0
        self._count = 0

    def program(self) -> dict[str, Function]:
        self._expect("program(")
        self._skip_to(")")
        if self._accept("["):
            self._skip_nested("[", "]")
        self._expect("{")
        functions: dict[str, Function] = {}
        while not self._accept("}"):
            function = self._function()
            if function.name in functions:
                raise ModelError(f"{self._place()}: the function {function.name!r} is there twice")
            functions[function.name] = function
        return functions

    def _function(self) -> Function:
        self._expect("func")
        self._count = 0
        name = self._word()
        self._expect("<")
        opset = self._word()
        self._expect(">")
        self._expect("(")
        inputs = []
        while not self._accept(")"):
            kind = self._type()
            inputs.append(Value(self._word(), kind))
            self._accept(",")
        if self._accept("["):
            self._skip_nested("[", "]")
        self._expect("{")
        operations = []
        while not self._accept("}"):
            operations.append(self._operation())
        self._expect("->")
        self._expect("(")
        outputs = []
        while not self._accept(")"):
            outputs.append(self._word())
            self._accept(",")
        self._expect(";")
        return Function(name, opset, inputs, Block(inputs, operations, outputs))

    def _operation(self) -> Operation:
        outputs = []
        while True:
            kind = self._type()
            outputs.append(Value(self._word(), kind))
            if not self._accept(","):
                break
        self._expect("=")
        name = self._word()
        self._expect("(")
        inputs: dict[str, list[Argument]] = {}
        while not self._accept(")"):
            parameter = self._word()
            self._expect("=")
            inputs[parameter] = self._arguments()
            self._accept(",")
        attributes: dict[str, Constant] = {}
        if self._accept("["):
            while not self._accept("]"):
                parameter = self._word()
                self._expect("=")
                attributes[parameter] = self._constant()
                self._accept(",")
        if self._peek("{"):
            raise UnsupportedError(f"{self._place()}: {name} holds a block of operations, which is not supported")
        self._expect(";")
        self._count += 1
        return Operation(name, self._count - 1, inputs, attributes, outputs)

    def _arguments(self) -> list[Argument]:
        if not self._accept("("):
            return [self._argument()]
        several = []
        while not self._accept(")"):
            several.append(self._argument())
            self._accept(",")
        return several

    def _argument(self) -> Argument:
        """A name, or a constant in place: a type followed by a parenthesis."""
        start = self._at
        word = self._word()
        constant = self._peek("(") or (word == "tensor" and self._peek("<"))
        self._at = start
        return self._constant() if constant else self._word()

    def _type(self) -> TensorType:
        self._skip_space()
        found = _TENSOR.match(self._text, self._at)
        if found is None:
            dtype = self._word()
            if dtype not in NUMPY_TYPES and dtype != "string":
                raise UnsupportedError(f"{self._place()}: values of type {dtype} are not supported")
            return TensorType(dtype, ())
        self._at = found.end()
        sizes = [size.strip() for size in found[2].split(",")] if found[2].strip() else []
        return TensorType(found[1], tuple(self._size(size) for size in sizes))

    def _size(self, text: str) -> int | None:
        """A dimension; None for one that is not fixed."""
        if text == "?":
            return None
        if not (text.isascii() and text.isdecimal()):
            raise ModelError(f"{self._place()}: {text!r} is no size")
        return self._integer(text)

    def _integer(self, text: str) -> int:
        if len(text) > _DIGITS:
            raise ModelError(f"{self._place()}: a number of {len(text)} digits")
        return int(text)

    def _constant(self) -> Constant:
        kind = self._type()
        self._expect("(")
        if self._accept("BLOBFILE("):
            return self._stored(kind)
        if kind.dtype == "string":
            if kind.shape:
                raise UnsupportedError(f"{self._place()}: lists of texts are not supported")
            text = self._match(_TEXT, "a text")[1:-1]
            self._expect(")")
            return Immediate(kind, re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text))
        payload = self._match(_PAYLOAD, "values")
        value = Immediate(kind, self._values(payload, kind))
        self._expect(")")
        return value

    def _stored(self, kind: TensorType) -> Stored:
        self._expect("path")
        self._expect("=")
        file = self._constant()
        self._expect(",")
        self._expect("offset")
        self._expect("=")
        self._type()
        self._expect("(")
        offset = self._match(_INTEGER, "an offset")
        for _ in range(3):
            self._expect(")")
        if not isinstance(file, Immediate) or file.value != WEIGHT_FILE:
            raise UnsupportedError(f"{self._place()}: weights in a file other than {WEIGHT_FILE} are not supported")
        return Stored(kind, self._integer(offset))

    def _values(self, payload: str, kind: TensorType) -> Array:
        if kind.dtype not in NUMPY_TYPES:
            raise UnsupportedError(f"{self._place()}: values of type {kind.dtype} are not supported")
        words = _NUMBER.findall(payload)
        try:
            numbers: list[float]
            if kind.dtype == "bool":
                numbers = [_TRUTH[word] for word in words]
            elif kind.dtype.startswith("fp"):
                numbers = [float.fromhex(word) if "0x" in word else float(word) for word in words]
            else:
                numbers = [int(word) for word in words]
            return np.array(numbers, NUMPY_TYPES[kind.dtype]).reshape(kind.shape)
        except (KeyError, ValueError, TypeError, OverflowError):
            raise ModelError(f"{self._place()}: these are not the values of a {kind}") from None

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None  # it matches nothing as well
        self._at = found.end()

    def _peek(self, token: str) -> bool:
        self._skip_space()
        return self._text.startswith(token, self._at)

    def _accept(self, token: str) -> bool:
        if self._peek(token):
            self._at += len(token)
            return True
        if self._at >= len(self._text):
            self._fail(token)
        return False

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            self._fail(token)

    def _word(self) -> str:
        return self._match(_WORD, "a name")

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        self._skip_space()
        found = pattern.match(self._text, self._at)
        if found is None:
            self._fail(what)
        self._at = found.end()
        return found[0]

    def _skip_to(self, token: str) -> None:
        found = self._text.find(token, self._at)
        if found < 0:
            self._fail(token)
        self._at = found + len(token)

    def _skip_nested(self, opening: str, closing: str) -> None:
        """Skip what a bracket just opened, texts included."""
        depth = 1
        for found in re.compile(rf"{_TEXT.pattern}|[{re.escape(opening + closing)}]").finditer(self._text, self._at):
            depth += {opening: 1, closing: -1}.get(found[0], 0)
            if depth == 0:
                self._at = found.end()
                return
        self._fail(closing)

    def _place(self) -> str:
        return f"{self._where}, line {self._text.count(chr(10), 0, self._at) + 1}"

    def _fail(self, wanted: str) -> NoReturn:
        if self._at >= len(self._text):
            raise ModelError(f"{self._where}: cut short: it ends where {wanted} is expected")
        rest = self._text[self._at :].split("\n", 1)[0][:40]
        raise ModelError(f"{self._place()}: {wanted} is expected at {rest!r}")
