"""A MIL program in memory, the same whether it was read from protobuf or from text.

Only what execution needs is kept: functions, blocks, operations, the types of values, and constants. Tensors in the
weight file are represented by their offset and read later.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdbuild.arrays import Array

NUMPY_TYPES: dict[str, Any] = {
    "bool": np.bool_,
    "fp16": np.float16,
    "fp32": np.float32,
    "fp64": np.float64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "int4": np.int8,
    "uint1": np.uint8,
    "uint2": np.uint8,
    "uint3": np.uint8,
    "uint4": np.uint8,
    "uint6": np.uint8,
}
"""MIL's names of data types, and the NumPy types that hold them; sub-byte integers are held in a byte each."""

SUB_BYTE_BITS = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}


@dataclass(frozen=True)
class TensorType:
    """A tensor's data type (MIL's name, "string" included) and shape; a dimension of None is not fixed."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """As MIL writes it, without the angle brackets of ``tensor<…>``."""
        return f"{self.dtype} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"

    @property
    def elements(self) -> int:
        """The number of elements.

        Raises:
            ValueError: a dimension is not fixed.
        """
        count = 1
        for size in self.shape:
            if size is None:
                raise ValueError(f"{self} has no fixed size")
            count *= size
        return count


@dataclass(frozen=True)
class ListType(TensorType):
    """The type of a list of tensors: that of its elements. What a program says of its length is no limit to it."""

    def __str__(self) -> str:
        """As `TensorType`, in brackets."""
        return f"list<{super().__str__()}>"


@dataclass(frozen=True)
class Immediate:
    """A constant written in the program: an array of the type's shape, or a text."""

    type: TensorType
    value: Array | str


@dataclass(frozen=True)
class Stored:
    """A constant in the weight file; ``offset`` is that of its record."""

    type: TensorType
    offset: int


Constant = Immediate | Stored
Argument = str | Constant
"""What an operation is given: the name of a value, or a constant in place."""


@dataclass(frozen=True)
class Value:
    """A name and its type."""

    name: str
    type: TensorType


@dataclass
class Operation:
    """One operation: its arguments by parameter name, each a list because some parameters take several."""

    type: str
    index: int
    inputs: dict[str, list[Argument]]
    attributes: dict[str, Constant]
    outputs: list[Value]
    blocks: list["Block"] = field(default_factory=list)

    def reads(self) -> set[str]:
        """The names of values that it reads; with nested blocks, also the names of what these make."""
        names = {each for given in self.inputs.values() for each in given if isinstance(each, str)}
        for block in self.blocks:
            names.update(block.outputs, *(each.reads() for each in block.operations))
        return names

    def __str__(self) -> str:
        """The operation and its place, for messages."""
        outputs = ", ".join(value.name for value in self.outputs)
        return f"operation {self.index} ({self.type} -> {outputs})"


@dataclass
class Block:
    """Operations in order of execution, and the names that leave the block.

    A nested block sees the values of the blocks around it.
    """

    inputs: list[Value]
    operations: list[Operation]
    outputs: list[str]


@dataclass
class Function:
    """A function of a program: "main", its opset ("ios16" …), its inputs and its body."""

    name: str
    opset: str
    inputs: list[Value]
    block: Block

    def operations(self) -> Iterator[Operation]:
        """All operations, those of nested blocks after the one that holds them."""
        pending = [self.block]
        while pending:
            for operation in pending.pop().operations:
                yield operation
                pending.extend(operation.blocks)
