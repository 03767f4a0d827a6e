"""A compiled block: a flat list of bound torch calls on registers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sdbuild.coreml.runtime.errors import ModelError
from sdbuild.coreml.runtime.ops.lists import TensorList
from sdbuild.coreml.runtime.program import ListType, Value
from sdbuild.errors import UserError


@dataclass
class Step:
    """One call: registers in, registers out, registers emptied after it."""

    function: Callable[..., Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    results: list[Value]
    where: str
    frees: tuple[int, ...] = ()


@dataclass
class Plan:
    """A compiled block; ``run`` may be called any number of times."""

    steps: list[Step]
    registers: list[Any]
    inputs: list[int]
    outputs: list[int]
    checked: bool = False

    @torch.inference_mode()
    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs for these inputs.

        Raises:
            ModelError: an operation failed, or its result is not of the type that the program declares.
        """
        registers: list[Any] = self.registers.copy()
        for index, value in zip(self.inputs, inputs, strict=True):
            registers[index] = value
        for step in self.steps:
            results = call(step.function, [registers[index] for index in step.inputs], step.where)
            if not self.checked:
                check(step.results, results, step.where)
            for index, value in zip(step.outputs, results, strict=True):
                registers[index] = value
            for index in step.frees:
                registers[index] = None
        self.checked = True
        return [registers[index] for index in self.outputs]


def call(function: Callable[..., Any], arguments: list[Any], where: str) -> tuple[Any, ...] | list[Any]:
    """The results of a function; what it raises becomes a message that names the operation."""
    try:
        results = function(*arguments)
    except UserError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError, MemoryError) as error:
        raise ModelError(f"{where}: {(str(error) or type(error).__name__).splitlines()[0]}") from error
    return results if isinstance(results, tuple | list) else (results,)


def check(declared: Sequence[Value], results: Sequence[Any], where: str) -> None:
    """Compare results with the declared types: a program that contradicts itself must not yield numbers."""
    if len(results) != len(declared):
        raise ModelError(f"{where}: it makes {len(results)} values, {len(declared)} are declared")
    for value, result in zip(declared, results, strict=True):
        if isinstance(result, TensorList) or isinstance(value.type, ListType):
            if not (isinstance(result, TensorList) and isinstance(value.type, ListType)):
                raise ModelError(f"{where}: said to be {value.type}, but its result is another kind of value")
            continue
        if len(result.shape) != len(value.type.shape) or any(
            size is not None and size != actual for size, actual in zip(value.type.shape, result.shape, strict=True)
        ):
            raise ModelError(f"{where}: said to be {value.type}, but its result has shape {list(result.shape)}")
