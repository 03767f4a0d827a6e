"""Compile a function into a flat list of bound torch calls.

Each value has a place in a list of registers. A step calls one function on some registers, fills others, and empties
those that nothing later reads. Operations whose result nothing uses are left out, those of constants are computed when
compiling. Weights are fetched by a step of their own just before each use, so that a byte budget can drop them after it.
A nested block becomes a plan of its own: what it reads of the blocks around it is given to it as further inputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.constexpr import DECODERS
from sdbuild.coreml.runtime.control import CONTROL, check_blocks
from sdbuild.coreml.runtime.errors import ModelError, UnsupportedError
from sdbuild.coreml.runtime.ops import OPS, Bound, Call, Operand, Slot
from sdbuild.coreml.runtime.program import (
    Argument,
    Block,
    Function,
    Immediate,
    ListType,
    Operation,
    Stored,
    TensorType,
    Value,
)
from sdbuild.coreml.runtime.steps import Plan, Step, call, check
from sdbuild.coreml.runtime.storage import Storage
from sdbuild.coreml.runtime.weights import Cache, Source, WeightFile, constant_source, decoded_source
from sdbuild.opset import Opset

_FOLD_LIMIT = 1 << 16
"""Results of more elements than this are computed at each run rather than kept from compiling."""


def compile_function(function: Function, file: WeightFile, storage: Storage, budget: int | None) -> Plan:
    """The plan of a function; nothing is read from the weight file before it is needed.

    Raises:
        UnsupportedError: an operation, or a use of one, that cannot be executed.
        ModelError: a program that contradicts itself.
    """
    where = f"function {function.name!r}"
    if Opset.of_system(function.opset) is None:
        raise UnsupportedError(
            f"{where} is of the opset {function.opset}, not {' or '.join(each.system for each in Opset)}"
        )
    unknown = [each for each in function.operations() if not _known(each)]
    if unknown:
        more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UnsupportedError(f"{where}, {unknown[0]}: this operation is not supported{more}")
    for value in function.inputs:
        if isinstance(value.type, ListType):
            raise UnsupportedError(f"{where}: its input {value.name} is a list; only tensors are supported")
    block = _Compiler(where, function.block, file, storage)
    block.lower()
    for name, operand in zip(function.block.outputs, block.outputs, strict=True):
        if isinstance(operand.type, ListType):
            raise UnsupportedError(f"{where}: its output {name} is a list; only tensors are supported")
    return block.emit(Cache(storage, file, budget, block.largest()))


@dataclass
class _Pending:
    """An operation that is run: what it is bound to, or its nested blocks."""

    operation: Operation
    bound: Bound
    blocks: list["_Compiler"] = field(default_factory=list)


class _Compiler:
    """Turns a block into a plan: ``lower`` finds out what is run on what, ``emit`` makes the steps."""

    def __init__(
        self, where: str, block: Block, file: WeightFile, storage: Storage, outer: "_Compiler | None" = None
    ) -> None:
        self._where = where
        self._block = block
        self._file = file
        self._storage = storage
        self._outer = outer
        self._values: dict[str, Operand] = {}
        self._registers: list[Any] = [None]  # register 0 stands for absent optional arguments
        self._constants: dict[Source, int] = {}
        self._steps: list[Step] = []
        self._inputs: list[int] = []
        self._pending: list[_Pending] = []
        self.outputs: list[Operand] = []
        self.captured: list[Slot] = []
        """Values of the block around this one that it reads, after its own inputs."""

    def lower(self) -> None:
        """Resolve all operations and outputs."""
        self._inputs = [self._slot(value.name, value.type) for value in self._block.inputs]
        for operation in _used(self._block):
            if self._is_constant(operation):
                continue
            pending = (
                self._nested(operation) if operation.type in CONTROL else _Pending(operation, self._lower(operation))
            )
            if not self._folded(pending):
                for output in operation.outputs:
                    self._slot(output.name, output.type)
                self._pending.append(pending)
        for name in self._block.outputs:
            found = self._find(name)
            if found is None:
                raise ModelError(f"{self._where}: its output {name} is computed by nothing")
            self.outputs.append(found)

    def largest(self) -> int:
        """The most bytes of weights that one operation needs at once."""
        sizes = [0]
        for each in self._pending:
            needed = {one for one in each.bound.operands if isinstance(one, Source) and not one.immediate}
            size = sum(self._storage.bytes(one.type) for one in needed)
            sizes.append(size + max((block.largest() for block in each.blocks), default=0))
        return max(sizes)

    def emit(self, cache: Cache) -> Plan:
        """The plan."""
        for each in self._pending:
            self._emit(each, cache)
        outputs = [self._register(each, cache) for each in self.outputs]
        self._free(set(outputs))
        return Plan(self._steps, self._registers, self._inputs, outputs)

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

    def _nested(self, operation: Operation) -> _Pending:
        """An operation that runs blocks: they are lowered, and what they capture follows its own operands."""
        check_blocks(operation)
        operands = [self._operand(operation, each) for each in CONTROL[operation.type].operands(operation)]
        blocks = []
        for block in operation.blocks:
            nested = _Compiler(f"a block of {operation}", block, self._file, self._storage, self)
            nested.lower()
            blocks.append(nested)
            operands.extend(nested.captured)
        return _Pending(operation, Bound(CONTROL[operation.type].run, tuple(operands), moves=True), blocks)

    def _lower(self, operation: Operation) -> Bound:
        arguments = {
            name: [self._operand(operation, each) for each in given] for name, given in operation.inputs.items()
        }
        call = Call(operation, arguments, self._storage)
        try:
            return OPS[operation.type](call)
        except (ValueError, IndexError, KeyError, TypeError, ArithmeticError, RuntimeError) as error:
            raise ModelError(f"{operation}: its parameters do not fit ({error})") from error

    @torch.inference_mode()
    def _folded(self, pending: _Pending) -> bool:
        """Whether an operation was computed now: one of small constants alone."""
        operation, bound = pending.operation, pending.bound
        if pending.blocks or any(isinstance(output.type, ListType) for output in operation.outputs):
            return False
        constants = [each for each in bound.operands if isinstance(each, Source) and each.immediate]
        if len(constants) < len(bound.operands) or any(_size(output) > _FOLD_LIMIT for output in operation.outputs):
            return False
        arguments = [self._storage.constant(each.array(), each.type.dtype) for each in constants]
        results = call(self._rounded(operation, bound), arguments, str(operation))
        check(operation.outputs, results, str(operation))
        for output, result in zip(operation.outputs, results, strict=True):
            self._define(output.name, Source(output.type, result.cpu().numpy().copy, immediate=True))
        return True

    def _operand(self, operation: Operation, argument: Argument) -> Operand:
        if isinstance(argument, Immediate | Stored):
            return constant_source(argument, self._file, str(operation))
        found = self._find(argument)
        if found is None:
            raise ModelError(f"{operation}: it reads {argument}, which nothing before it computes")
        return found

    def _find(self, name: str) -> Operand | None:
        """A value of this block, or of one around it: a constant as it is, what is computed there as an input."""
        if name not in self._values and self._outer is not None:
            found = self._outer._find(name)
            if isinstance(found, Slot):
                self._inputs.append(self._slot(name, found.type))
                self.captured.append(found)
            elif found is not None:
                self._values[name] = found
        return self._values.get(name)

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

    def _emit(self, pending: _Pending, cache: Cache) -> None:
        operation, bound = pending.operation, pending.bound
        inputs = tuple(self._register(each, cache) for each in bound.operands)
        slots = [self._values[output.name] for output in operation.outputs]
        outputs = tuple(slot.index for slot in slots if isinstance(slot, Slot))
        function = self._rounded(operation, bound)
        if pending.blocks:
            function = bound.function([each.emit(cache) for each in pending.blocks])
        self._steps.append(Step(function, inputs, outputs, operation.outputs, str(operation)))

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

    def _free(self, kept: set[int]) -> None:
        """Let each step empty what nothing later reads."""
        constants = set(self._constants.values()) | {0}
        seen = kept | constants
        for step in reversed(self._steps):
            last = dict.fromkeys(index for index in (*step.inputs, *step.outputs) if index not in seen)
            step.frees = tuple(last)
            seen.update(last)


def _known(operation: Operation) -> bool:
    if operation.type in CONTROL:
        return True
    return not operation.blocks and (operation.type == "const" or operation.type in OPS or operation.type in DECODERS)


def _used(block: Block) -> list[Operation]:
    """The operations that an output depends on, in order."""
    needed, kept = set(block.outputs), []
    for operation in reversed(block.operations):
        if any(output.name in needed for output in operation.outputs):
            kept.append(operation)
            needed.update(operation.reads())
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
