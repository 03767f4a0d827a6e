"""Write a MIL function straight into protobuf, one operation after another.

Everything in MIL is an operation, constants too: an argument such as ``axis=1`` is a ``const`` operation that the user of
it names. Weights are promises (`Weight`) until ``weights`` keeps them, so that a program of any size is built without
holding one of them. Source: ``MIL.proto`` in apple/coremltools, and what its converter writes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.mil import INLINE_LIMIT, set_string, set_type
from sdbuild.coreml.proto import MIL_pb2
from sdbuild.errors import SourceError
from sdbuild.opset import Opset

FLOAT16, FLOAT32, INT32 = MIL_pb2.FLOAT16, MIL_pb2.FLOAT32, MIL_pb2.INT32
BOOL, STRING = MIL_pb2.BOOL, MIL_pb2.STRING
INT16, UINT16 = MIL_pb2.INT16, MIL_pb2.UINT16

_NUMPY = {FLOAT16: np.float16, FLOAT32: np.float32, INT32: np.int32, BOOL: np.bool_}
_CAST_NAME = {FLOAT16: "fp16", FLOAT32: "fp32", INT32: "int32", BOOL: "bool", INT16: "int16", UINT16: "uint16"}


@dataclass(frozen=True)
class Value:
    """A tensor in the program: its name, static shape and MIL data type."""

    name: str
    shape: tuple[int, ...]
    dtype: int


@dataclass(frozen=True)
class Weight:
    """A tensor that will be read when the package is written: its name in the checkpoint, and its shape there or here.

    ``scale`` is what it will be multiplied by, in float32.
    """

    name: str
    shape: tuple[int, ...]
    scale: float = 1.0


@dataclass(frozen=True)
class Fixed:
    """A constant of a data type that does not follow the program's precision."""

    content: Any
    dtype: int


LoadWeight = Callable[[str], Array]
"""Reads the named tensor of a checkpoint: float16 or float32, C-contiguous."""
LoadHalf = Callable[[str, float], Array | None]
"""Reads the named tensor times a number, computed in float32 and rounded once to float16; or says by None that `LoadWeight` is
to read it."""


@dataclass(frozen=True)
class Folded:
    """What depends on weights alone, computed when the package is written; ``name`` is that of the constant to be."""

    name: str
    shape: tuple[int, ...]
    compute: Callable[[LoadWeight], Array]


Argument = Value | Weight | Folded | Fixed | Array | bool | int | float | str | Sequence[Any]


class Builder:
    """A function under construction.

    ``float_type`` (FLOAT16 or FLOAT32) is what floating-point constants and weights become.
    """

    def __init__(self, opset: Opset, float_type: int, outputs: Sequence[str] = ()) -> None:
        """Start ``main`` for the opset; no operation but an output's own takes a name of ``outputs``."""
        self.opset = opset
        self.float_type = float_type
        self.program = MIL_pb2.Program(version=1)
        self._function = self.program.functions["main"]
        self._function.opset = opset.mil
        self._block = self._function.block_specializations[opset.mil]
        self._names: set[str] = set(outputs)
        self._casts: dict[tuple[str, int], Value] = {}
        self._origins: dict[str, Value] = {}
        self.promises: list[tuple[Value, Any, Weight | Folded | Array]] = []
        """Constants without content as yet: the value, its protobuf, and where the content comes from."""
        self._weights: dict[Weight | Folded, Value] = {}

    def input(self, name: str, shape: Sequence[int], dtype: int) -> Value:
        """Declare an input of the function."""
        value = Value(self._name(name), tuple(shape), dtype)
        set_type(self._function.inputs.add(name=value.name).type, dtype, value.shape)
        return value

    def op(
        self,
        kind: str,
        name: str,
        arguments: Mapping[str, Argument | Sequence[Value]],
        shape: Sequence[int],
        dtype: int | None = None,
    ) -> Value:
        """Append an operation with one output; arguments that are not values become constants of their own."""
        return self.multi_op(kind, name, arguments, [shape], dtype)[0]

    def multi_op(
        self,
        kind: str,
        name: str,
        arguments: Mapping[str, Argument | Sequence[Value]],
        shapes: Sequence[Sequence[int]],
        dtype: int | None = None,
    ) -> list[Value]:
        """Append an operation with an output for each shape."""
        name = self._name(name)
        bound = {key: self._bind(f"{name}_{key}_0", argument) for key, argument in arguments.items()}
        operation = self._block.operations.add(type=kind)
        for key, values in bound.items():
            for value in values:
                operation.inputs[key].arguments.add(name=value.name)
        outputs = []
        for index, shape in enumerate(shapes):
            output = Value(
                name if len(shapes) == 1 else self._name(f"{name}_{index}"),
                tuple(shape),
                self.float_type if dtype is None else dtype,
            )
            set_type(operation.outputs.add(name=output.name).type, output.dtype, output.shape)
            outputs.append(output)
        set_string(operation.attributes["name"], name)
        return outputs

    def cast(self, value: Value, dtype: int) -> Value:
        """Convert to another data type, once for all uses; the same value where nothing changes.

        What is an int32 only by a cast is cast to fewer bits from what it was before.
        """
        if value.dtype == dtype:
            return value
        if dtype in (INT16, UINT16):
            value = self._origins.get(value.name, value)
        key = (value.name, dtype)
        if key not in self._casts:
            kind = _CAST_NAME[dtype]
            self._casts[key] = self.op(
                "cast", f"{value.name}_to_{kind}", {"x": value, "dtype": kind}, value.shape, dtype
            )
            if dtype == INT32:
                self._origins[self._casts[key].name] = value
        return self._casts[key]

    def output(self, value: Value, name: str, dtype: int) -> None:
        """Make ``value`` an output of the function, under the reserved ``name`` and as ``dtype``."""
        self._names.discard(name)
        if value.dtype != dtype:
            self.op("cast", name, {"x": value, "dtype": _CAST_NAME[dtype]}, value.shape, dtype)
        elif not self._rename(value.name, name):
            self.op("identity", name, {"x": value}, value.shape, dtype)
        self._block.outputs.append(name)

    def _rename(self, old: str, new: str) -> bool:
        """Let the operation that makes ``old`` make ``new``; not possible for an input, or for an output already."""
        made = any(output.name == old for operation in self._block.operations for output in operation.outputs)
        if not made or old in self._block.outputs:
            return False
        for operation in self._block.operations:
            for argument in operation.inputs.values():
                for part in argument.arguments:
                    if part.name == old:
                        part.name = new
            for output in operation.outputs:
                if output.name == old:
                    output.name = new
        self._names.add(new)
        return True

    @property
    def outputs(self) -> list[str]:
        """The names of the function's outputs."""
        return list(self._block.outputs)

    @property
    def parameters(self) -> dict[str, str]:
        """By name of a constant of the program, the checkpoint's parameter that it holds, as written there."""
        made = {output.name for operation in self._block.operations for output in operation.outputs}
        named = {value.name: weight.name for weight, value in self._weights.items() if isinstance(weight, Weight)}
        return {name: parameter for name, parameter in named.items() if name in made}

    @property
    def operations(self) -> Any:
        """The operations so far, constants among them."""
        return self._block.operations

    def _bind(self, name: str, argument: Argument | Sequence[Value]) -> list[Value]:
        if isinstance(argument, Value):
            return [argument]
        if isinstance(argument, Sequence) and any(isinstance(part, (Value, Weight, Folded)) for part in argument):
            return [self._bind(f"{name}_{number}", part)[0] for number, part in enumerate(argument)]
        if isinstance(argument, (Weight, Folded)):
            return [self._weight(argument)]
        return [self._constant(name, argument)]

    def _weight(self, weight: Weight | Folded) -> Value:
        if weight not in self._weights:
            suffix = "_to_fp16" if self.float_type == FLOAT16 else ""
            name = weight.name.replace(".", "_") + suffix
            value, proto = self._const(name, weight.shape, self.float_type)
            self.promises.append((value, proto, weight))
            self._weights[weight] = value
        return self._weights[weight]

    def _constant(self, name: str, content: Any) -> Value:
        fixed = content.dtype if isinstance(content, Fixed) else None
        content = content.content if isinstance(content, Fixed) else content
        if isinstance(content, str):
            value, proto = self._const(name, (), STRING)
            proto.immediateValue.tensor.strings.values.append(content)
            return value
        array = np.asarray(content)
        if array.size == 0 and array.dtype == np.float64:  # an empty list has no type of its own: MIL's are of integers
            array = array.astype(np.int32)
        kind = fixed or {"b": BOOL, "i": INT32, "u": INT32, "f": self.float_type}[array.dtype.kind]
        value, proto = self._const(name, array.shape, kind)
        if kind in (FLOAT16, FLOAT32) and array.size >= INLINE_LIMIT:
            self.promises.append((value, proto, array))
        else:
            with np.errstate(over="ignore"):
                numbers: Array = array.astype(_NUMPY[kind]).reshape(-1)
            if kind == FLOAT16 and np.isinf(numbers).any():
                _refuse_overflow(name, array.reshape(-1))
            set_immediate(proto, kind, numbers)
        return value

    def _const(self, name: str, shape: tuple[int, ...], dtype: int) -> tuple[Value, Any]:
        value = Value(self._name(name), shape, dtype)
        operation = self._block.operations.add(type="const")
        set_type(operation.outputs.add(name=value.name).type, dtype, shape)
        set_string(operation.attributes["name"], value.name)
        proto = operation.attributes["val"]
        set_type(proto.type, dtype, shape)
        return value, proto

    def _name(self, wanted: str) -> str:
        """A free name: ``wanted``, or ``wanted`` with a number."""
        name, number = wanted, 0
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name


def _refuse_overflow(name: str, flat: Array) -> None:
    """Infinities may be meant, as in a mask; what becomes one is not."""
    large = flat[np.isfinite(flat) & (np.abs(flat) > np.finfo(np.float16).max)]
    if len(large):
        raise SourceError(f"convert: {large[0]:g} in {name} overflows float16; sdbuild cannot convert this model")


def set_immediate(proto: Any, kind: int, flat: Array) -> None:
    """Write the numbers of a constant into the program itself."""
    tensor = proto.immediateValue.tensor
    if kind == FLOAT16:
        tensor.bytes.values = flat.tobytes()
    elif kind == FLOAT32:
        tensor.floats.values.extend(flat.tolist())
    elif kind == INT32:
        tensor.ints.values.extend(flat.tolist())
    else:
        tensor.bools.values.extend(flat.tolist())
