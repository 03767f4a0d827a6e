"""The table of operations: from a MIL operation to a torch function and the values it is given.

Each operation is a small function decorated with ``@op("its name")``. It runs once, when a model is compiled: it reads
the parameters that must be known by then from its `Call`, and returns a `Bound` function of the remaining tensors.
Semantics are those of coremltools' operation definitions (``converters/mil/mil/ops/defs``), opsets iOS 15 to iOS 18.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.errors import ModelError, UnsupportedError
from sdbuild.coreml.runtime.program import ListType, Operation, TensorType
from sdbuild.coreml.runtime.storage import Storage
from sdbuild.coreml.runtime.weights import Source

Tensor = torch.Tensor


@dataclass(frozen=True)
class Slot:
    """A value that is computed at run time: its place in the registers, and its type."""

    index: int
    type: TensorType


Operand = Slot | Source


@dataclass(frozen=True)
class Bound:
    """A function and the operands it takes, in order; None stands for an optional one that is absent.

    ``moves`` says that the function only moves values about, so that nothing has to be rounded after it.
    """

    function: Callable[..., Any]
    operands: tuple[Operand | None, ...]
    moves: bool = False


@dataclass
class Call:
    """An operation to be lowered, with its arguments resolved."""

    operation: Operation
    arguments: dict[str, list[Operand]]
    storage: Storage

    def has(self, name: str) -> bool:
        """Whether a parameter is given."""
        return name in self.arguments

    def type(self, name: str) -> TensorType:
        """The type of a parameter that is a single tensor."""
        return self._one(name).type

    def rank(self, name: str) -> int:
        """The rank of a parameter that is a single tensor."""
        return len(self.type(name).shape)

    def dtype(self, name: str) -> torch.dtype:
        """The torch type that holds a MIL type."""
        if not self.storage.knows(name):
            raise self.unsupported(f"the data type {name}")
        return self.storage.dtype(name)

    def out_dtype(self) -> torch.dtype:
        """The torch type of the first output."""
        return self.dtype(self.operation.outputs[0].type.dtype)

    def static(self, name: str) -> Array | str | None:
        """The value of a parameter, or None where it is computed at run time."""
        operand = self._one(name)
        return operand.load() if isinstance(operand, Source) else None

    def array(self, name: str) -> Array:
        """The value of a tensor that must be constant.

        Raises:
            UnsupportedError: it is computed at run time.
        """
        value = self.static(name)
        if not isinstance(value, np.ndarray):
            raise self.unsupported(f"{name} is computed at run time; only a constant one is supported")
        return value

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """A constant list of integers; ``default`` where the parameter is absent."""
        if default is not None and not self.has(name):
            return list(default)
        return [int(each) for each in self.array(name).reshape(-1)]

    def integer(self, name: str, default: int | None = None) -> int:
        """A constant integer."""
        if default is not None and not self.has(name):
            return default
        return int(self._scalar(name))

    def number(self, name: str, default: float | None = None) -> float:
        """A constant number, of the value its type can hold."""
        if default is not None and not self.has(name):
            return default
        return float(self._scalar(name))

    def truth(self, name: str, default: bool | None = None) -> bool:
        """A constant truth value."""
        if default is not None and not self.has(name):
            return default
        return bool(self._scalar(name))

    def text(self, name: str, default: str | None = None, choices: Sequence[str] = ()) -> str:
        """A constant text, one of ``choices`` if given."""
        value = default if default is not None and not self.has(name) else self.static(name)
        if not isinstance(value, str):
            raise ModelError(f"{self.operation}: {name} is not a text")
        if choices and value not in choices:
            raise self.unsupported(f"{name} = {value!r}; supported: {', '.join(choices)}")
        return value

    def bind(self, function: Callable[..., Any], *names: str, moves: bool = False) -> Bound:
        """The function of the named parameters; one that takes several tensors is spread.

        A name that ends in "?" is that of an optional parameter: None where it is absent.
        """
        operands: list[Operand | None] = []
        for name in names:
            found = self.arguments.get(name.removesuffix("?"))
            if not found and not name.endswith("?"):
                raise ModelError(f"{self.operation}: the parameter {name} is missing")
            for each in found or []:
                if each.type.dtype == "string" or isinstance(each.type, ListType) != (name == "ls"):
                    kind = f"a {'text' if each.type.dtype == 'string' else each.type}"
                    raise ModelError(
                        f"{self.operation}: {name} is {kind}, not a {'list' if name == 'ls' else 'tensor'}"
                    )
            operands.extend(found or [None])
        return Bound(function, tuple(operands), moves)

    def unsupported(self, what: str) -> UnsupportedError:
        """The error that names this operation and what of it cannot be executed."""
        return UnsupportedError(f"{self.operation}: {what}")

    def _scalar(self, name: str) -> Any:
        value = self.array(name)
        if value.size != 1:
            raise ModelError(f"{self.operation}: {name} has {value.size} elements; one is expected")
        return value.reshape(-1)[0]

    def _one(self, name: str) -> Operand:
        found = self.arguments.get(name)
        if not found:
            raise ModelError(f"{self.operation}: the parameter {name} is missing")
        if len(found) != 1:
            raise ModelError(f"{self.operation}: {name} has {len(found)} values; one is expected")
        return found[0]


Lowering = Callable[[Call], Bound]
OPS: dict[str, Lowering] = {}
"""Every operation that can be executed, by its MIL name."""


def op(*names: str) -> Callable[[Lowering], Lowering]:
    """Enter a lowering into the table."""

    def enter(lowering: Lowering) -> Lowering:
        for name in names:
            OPS[name] = lowering
        return lowering

    return enter
