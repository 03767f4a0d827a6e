"""Compile a function into a flat list of bound torch calls, and run it.

Each value has a place in a list of registers. A step calls one function on some registers, fills others, and empties
those that nothing later reads. Operations whose result nothing uses are left out, those of constants are computed when
compiling. Weights are fetched by a step of their own just before each use, so that a byte budget can drop them after it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sdbuild.coreml.runtime.constexpr import DECODERS
from sdbuild.coreml.runtime.errors import ModelError, UnsupportedError
from sdbuild.coreml.runtime.ops import OPS, Bound, Call, Operand, Slot
from sdbuild.coreml.runtime.program import Argument, Array, Function, Immediate, Operation, Stored, TensorType, Value
from sdbuild.coreml.runtime.storage import Storage
from sdbuild.coreml.runtime.weights import Cache, Source, WeightFile, constant_source, decoded_source
from sdbuild.errors import UserError

_OPSETS = ("ios15", "ios16", "ios17", "ios18")
_FOLD_LIMIT = 1 << 16
"""Results of more elements than this are computed at each run rather than kept from compiling."""


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
    """A compiled function; ``run`` may be called any number of times."""

    steps: list[Step]
    registers: list[torch.Tensor | None]
    inputs: list[int]
    outputs: list[int]
    checked: bool = False

    @torch.inference_mode()
    def run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """The outputs for these inputs.

        Raises:
            ModelError: an operation failed, or its result is not of the type that the program declares.
        """
        registers: list[Any] = self.registers.copy()
        for index, value in zip(self.inputs, inputs, strict=True):
            registers[index] = value
        for step in self.steps:
            results = _call(step.function, [registers[index] for index in step.inputs], step.where)
            if not self.checked:
                _check(step.results, results, step.where)
            for index, value in zip(step.outputs, results, strict=True):
                registers[index] = value
            for index in step.frees:
                registers[index] = None
        self.checked = True
        return [registers[index] for index in self.outputs]


def _call(
    function: Callable[..., Any], arguments: list[Any], where: str
) -> tuple[torch.Tensor, ...] | list[torch.Tensor]:
    """The results of a function; what it raises becomes a message that names the operation."""
    try:
        results = function(*arguments)
    except UserError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError, MemoryError) as error:
        raise ModelError(f"{where}: {(str(error) or type(error).__name__).splitlines()[0]}") from error
    return results if isinstance(results, tuple | list) else (results,)


def _check(declared: Sequence[Value], results: Sequence[torch.Tensor], where: str) -> None:
    """Compare results with the declared types: a program that contradicts itself must not yield numbers."""
    for value, result in zip(declared, results, strict=True):
        if len(result.shape) != len(value.type.shape) or any(
            size is not None and size != actual for size, actual in zip(value.type.shape, result.shape, strict=True)
        ):
            raise ModelError(f"{where}: said to be {value.type}, but its result has shape {list(result.shape)}")


class Compiler:
    """Turns a function into a plan."""

    def __init__(self, function: Function, file: WeightFile, storage: Storage, budget: int | None) -> None:
        """Prepare; nothing is read from the weight file before it is needed."""
        self._function = function
        self._file = file
        self._storage = storage
        self._budget = budget
        self._values: dict[str, Operand] = {}
        self._registers: list[torch.Tensor | None] = [None]  # register 0 stands for absent optional arguments
        self._constants: dict[Source, int] = {}
        self._steps: list[Step] = []

    def compile(self) -> Plan:
        """The plan.

        Raises:
            UnsupportedError: an operation, or a use of one, that cannot be executed.
            ModelError: a program that contradicts itself.
        """
        function = self._function
        if function.opset not in _OPSETS:
            raise UnsupportedError(
                f"function {function.name!r} is of the opset {function.opset}, not {' or '.join(_OPSETS)}"
            )
        unknown = [each for each in function.operations() if not _known(each)]
        if unknown:
            more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise UnsupportedError(f"function {function.name!r}, {unknown[0]}: this operation is not supported{more}")
        inputs = [self._slot(value.name, value.type) for value in function.inputs]
        pending = []
        for operation in _used(function):
            if not self._is_constant(operation):
                bound = self._lower(operation)
                if not self._folded(operation, bound):
                    for output in operation.outputs:
                        self._slot(output.name, output.type)
                    pending.append((operation, bound))
        cache = Cache(self._storage, self._file, self._budget, self._largest([bound for _, bound in pending]))
        for operation, bound in pending:
            self._emit(operation, bound, cache)
        outputs = [self._output(name, cache) for name in function.block.outputs]
        self._free(set(outputs))
        return Plan(self._steps, self._registers, inputs, outputs)

    def _is_constant(self, operation: Operation) -> bool:
        """Enter a constant into the table of values; False for an operation that is run."""
        if operation.type == "const":
            value = operation.attributes.get("val")
            if value is None:
                raise ModelError(f"{operation}: a constant without a value")
            self._define(operation.outputs[0].name, constant_source(value, self._file, str(operation)))
            return True
        if operation.type not in DECODERS:
            return False
        arguments = {name: self._one(operation, given) for name, given in operation.inputs.items()}
        for name, constant in operation.attributes.items():
            if name != "name":
                arguments[name] = constant_source(constant, self._file, str(operation))
        for index, output in enumerate(operation.outputs):
            self._define(output.name, decoded_source(operation, index, arguments))
        return True

    def _one(self, operation: Operation, given: list[Argument]) -> Source:
        operands = [self._operand(operation, each) for each in given]
        if len(operands) != 1 or not isinstance(operands[0], Source):
            raise ModelError(f"{operation}: its arguments must be single constants")
        return operands[0]

    def _lower(self, operation: Operation) -> Bound:
        arguments = {
            name: [self._operand(operation, each) for each in given] for name, given in operation.inputs.items()
        }
        call = Call(operation, arguments, self._storage)
        try:
            return OPS[operation.type](call)
        except (ValueError, IndexError, TypeError, ArithmeticError) as error:
            raise ModelError(f"{operation}: its parameters do not fit ({error})") from error

    @torch.inference_mode()
    def _folded(self, operation: Operation, bound: Bound) -> bool:
        """Whether an operation was computed now: one of small constants alone."""
        constants = [each for each in bound.operands if isinstance(each, Source) and each.immediate]
        if len(constants) < len(bound.operands) or any(_size(output) > _FOLD_LIMIT for output in operation.outputs):
            return False
        arguments = [self._storage.constant(each.array(), each.type.dtype) for each in constants]
        results = _call(self._rounded(operation, bound), arguments, str(operation))
        _check(operation.outputs, results, str(operation))
        for output, result in zip(operation.outputs, results, strict=True):
            self._define(output.name, Source(output.type, result.cpu().numpy().copy, immediate=True))
        return True

    def _operand(self, operation: Operation, argument: Argument) -> Operand:
        if isinstance(argument, Immediate | Stored):
            return constant_source(argument, self._file, str(operation))
        if argument not in self._values:
            raise ModelError(f"{operation}: it reads {argument}, which nothing before it computes")
        return self._values[argument]

    def _define(self, name: str, operand: Operand) -> None:
        if name in self._values:
            raise ModelError(f"the name {name} is given to two values")
        self._values[name] = operand

    def _slot(self, name: str, kind: TensorType) -> int:
        if not self._storage.knows(kind.dtype):
            raise UnsupportedError(f"{name} is of the data type {kind.dtype}, which is not supported")
        self._registers.append(None)
        index = len(self._registers) - 1
        self._define(name, Slot(index, kind))
        return index

    def _largest(self, bounds: list[Bound]) -> int:
        """The most bytes of weights that one operation needs at once."""
        sizes = [0]
        for bound in bounds:
            needed = {each for each in bound.operands if isinstance(each, Source) and not each.immediate}
            sizes.append(sum(self._storage.bytes(each.type) for each in needed))
        return max(sizes)

    def _emit(self, operation: Operation, bound: Bound, cache: Cache) -> None:
        inputs = tuple(self._register(each, cache) for each in bound.operands)
        slots = [self._values[output.name] for output in operation.outputs]
        outputs = tuple(slot.index for slot in slots if isinstance(slot, Slot))
        self._steps.append(Step(self._rounded(operation, bound), inputs, outputs, operation.outputs, str(operation)))

    def _rounded(self, operation: Operation, bound: Bound) -> Callable[..., Any]:
        """The function of an operation, with its half-precision results rounded where that is asked for."""
        half = [output.type.dtype == "fp16" for output in operation.outputs]
        function, storage = bound.function, self._storage
        if not storage.rounds or bound.moves or not any(half):
            return function
        if len(half) == 1:
            return lambda *arguments: storage.round(function(*arguments))

        def rounded(*arguments: Any) -> tuple[torch.Tensor, ...]:
            results = zip(function(*arguments), half, strict=True)
            return tuple(storage.round(result) if is_half else result for result, is_half in results)

        return rounded

    def _register(self, operand: Operand | None, cache: Cache) -> int:
        """The register that will hold an operand: constants are bound now, weights by a step."""
        if operand is None:
            return 0
        if isinstance(operand, Slot):
            return operand.index
        if operand.immediate:
            if operand not in self._constants:
                self._registers.append(self._storage.constant(operand.array(), operand.type.dtype))
                self._constants[operand] = len(self._registers) - 1
            return self._constants[operand]
        self._registers.append(None)
        index = len(self._registers) - 1
        self._steps.append(Step(cache.loader(operand), (), (index,), [Value("", operand.type)], "a weight"))
        return index

    def _output(self, name: str, cache: Cache) -> int:
        if name not in self._values:
            raise ModelError(f"function {self._function.name!r}: its output {name} is computed by nothing")
        return self._register(self._values[name], cache)

    def _free(self, kept: set[int]) -> None:
        """Let each step empty what nothing later reads."""
        constants = set(self._constants.values()) | {0}
        seen = kept | constants
        for step in reversed(self._steps):
            last = dict.fromkeys(index for index in (*step.inputs, *step.outputs) if index not in seen)
            step.frees = tuple(last)
            seen.update(last)


def _known(operation: Operation) -> bool:
    return operation.type == "const" or operation.type in OPS or operation.type in DECODERS


def _used(function: Function) -> list[Operation]:
    """The operations that an output depends on, in order."""
    needed, kept = set(function.block.outputs), []
    for operation in reversed(function.block.operations):
        if any(output.name in needed for output in operation.outputs):
            kept.append(operation)
            needed.update(each for given in operation.inputs.values() for each in given if isinstance(each, str))
    return kept[::-1]


def _size(value: Value) -> int:
    """The number of elements of a value; that of one without a fixed size is not known before it is computed."""
    return 0 if None in value.type.shape else value.type.elements


def tensor_inputs(arrays: Mapping[str, Array], function: Function, storage: Storage) -> list[torch.Tensor]:
    """The arrays as tensors, in the order of the function's inputs."""
    tensors = []
    for value in function.inputs:
        tensor = storage.constant(arrays[value.name], value.type.dtype)
        tensors.append(storage.round(tensor) if storage.rounds and value.type.dtype == "fp16" else tensor)
    return tensors
