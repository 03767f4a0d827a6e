"""Whether two models, or chunks one after the other, are one program: then what one of them gives is what the other gives.

A program is compared as the runtime reads it, operation for operation, argument for argument, constant for constant; names
of values and the order of operations that do not depend on each other may differ. Each value gets a digest of all that it
is computed from, so that two programs are one if the digests of their outputs, and of all their operations, are equal.

A value that passes from a chunk to the next leaves it as float32 and is taken up in the type in which it was computed.
Widening float16 and narrowing it again gives the same number, so such a value has the digest of the one that was widened.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdbuild.coreml.blob import BlobReader
from sdbuild.coreml.runtime.constexpr import DECODERS
from sdbuild.coreml.runtime.description import Shapes
from sdbuild.coreml.runtime.model import Opened, open_model
from sdbuild.coreml.runtime.program import Argument, Constant, Operation, Stored, TensorType

_Content = Callable[[Path | None, Stored], object]
"""What stands for the values of a constant in the weight file of a model."""


def same_program(first: Sequence[Path], second: Sequence[Path], outputs: Sequence[str]) -> bool:
    """Whether two chains of models compute the same ``outputs`` in the same way of the same weights.

    Weights are compared by their place where both chains have the same files, by hard links; else by SHA-256. They are
    read only where all else is equal. False also where that cannot be said, as of programs with loops.

    Raises:
        UserError: a model cannot be read.
    """
    chains = [[open_model(path) for path in paths] for paths in (first, second)]
    files = [{_identity(model.weights) for model in chain if model.weights} for chain in chains]
    if files[0] == files[1]:
        return _equal(chains, outputs, _place)
    return _equal(chains, outputs, lambda _file, _constant: "") and _equal(chains, outputs, _Digests())


def _equal(chains: Sequence[Sequence[Opened]], outputs: Sequence[str], content: _Content) -> bool:
    first, second = (_identified(chain, outputs, content) for chain in chains)
    return first is not None and first == second


@dataclass(frozen=True)
class _Identified:
    """All that makes a program what it is."""

    opsets: frozenset[str]
    inputs: dict[str, tuple[TensorType, Shapes]]
    outputs: list[bytes]
    operations: frozenset[bytes]
    """Digests of what they make; constants and what carries a value from one chunk to the next are left out."""


def _identified(chain: Sequence[Opened], outputs: Sequence[str], content: _Content) -> _Identified | None:
    """None for what is not known to be a plain sequence of operations."""
    inputs: dict[str, tuple[TensorType, Shapes]] = {}
    given: dict[str, _Made] = {}
    operations: set[bytes] = set()
    for index, model in enumerate(chain):
        part = _Part(model, content)
        for value in model.function.inputs:
            if value.name in given:
                if model.shapes[value.name] != Shapes():
                    return None
                part.values[value.name] = given[value.name].taken_as(value.type)
                continue
            about = (value.type, model.shapes[value.name])
            if inputs.setdefault(value.name, about) != about:
                return None
            part.values[value.name] = _Made(_digest("input", value.name, value.type), value.type)
        if not part.walk():
            return None
        made = {name: part.values[name] for name in model.function.block.outputs}
        passed = {value.name for later in chain[index + 1 :] for value in later.function.inputs} - {*outputs}
        carriers = {made[name].digest for name in passed & made.keys() if made[name].carried}
        operations |= part.operations - carriers
        given |= made
    if not set(outputs) <= given.keys():
        return None
    opsets = frozenset(model.function.opset for model in chain)
    return _Identified(opsets, inputs, [given[name].digest for name in outputs], frozenset(operations))


@dataclass(frozen=True)
class _Made:
    """A value: what it is computed from, its type, and of one that was only carried on (widened, renamed) the one before."""

    digest: bytes
    type: TensorType
    carried: "_Made | None" = None

    def taken_as(self, kind: TensorType) -> "_Made":
        """The value as another part takes it, as an input of a type."""
        if self.carried is not None and self.carried.type == kind:
            return self.carried
        return self if self.type == kind else _Made(_digest("taken as", kind, self.digest), kind)


class _Part:
    """The values of one model."""

    def __init__(self, model: Opened, content: _Content) -> None:
        self._model, self._content = model, content
        self.values: dict[str, _Made] = {}
        self.operations: set[bytes] = set()

    def walk(self) -> bool:
        """Go through the operations; False where one is no plain operation on values before it."""
        for operation in self._model.function.block.operations:
            made_twice = any(output.name in self.values for output in operation.outputs)
            if operation.blocks or made_twice or not operation.reads() <= self.values.keys():
                return False
            if operation.type == "const":
                if "val" not in operation.attributes:
                    return False
                kind = operation.attributes["val"].type
                self.values[operation.outputs[0].name] = _Made(self._constant(operation.attributes["val"]), kind)
                continue
            digest = self._operation(operation)
            carried = self._carried(operation)
            for index, output in enumerate(operation.outputs):
                made = _Made(_digest("output", index, digest), output.type, carried)
                self.values[output.name] = made
                if operation.type not in DECODERS:
                    self.operations.add(made.digest)
        return set(self._model.function.block.outputs) <= self.values.keys()

    def _operation(self, operation: Operation) -> bytes:
        return _digest(
            operation.type,
            sorted((name, [self._argument(each) for each in given]) for name, given in operation.inputs.items()),
            sorted((name, self._constant(each)) for name, each in operation.attributes.items() if name != "name"),
            [output.type for output in operation.outputs],
        )

    def _carried(self, operation: Operation) -> _Made | None:
        """The value that an operation carries on without a change: widened to float32, or as it is."""
        if operation.type not in ("cast", "identity") or len(operation.outputs) != 1:
            return None
        source = operation.inputs.get("x", [None])[0]
        if not isinstance(source, str):
            return None
        before, after = self.values[source].type, operation.outputs[0].type
        widened = operation.type == "cast" and (before.dtype, after.dtype) == ("fp16", "fp32")
        same = operation.type == "identity" and before.dtype == after.dtype
        return self.values[source] if before.shape == after.shape and (widened or same) else None

    def _argument(self, argument: Argument) -> bytes:
        return self.values[argument].digest if isinstance(argument, str) else self._constant(argument)

    def _constant(self, constant: Constant) -> bytes:
        if isinstance(constant, Stored):
            return _digest("stored", constant.type, self._content(self._model.weights, constant))
        value = constant.value
        written = (value.shape, str(value.dtype), value.tobytes()) if isinstance(value, np.ndarray) else value
        return _digest("written", constant.type, written)


def _digest(*parts: object) -> bytes:
    """SHA-256 of numbers, texts, types and digests, nested in tuples and lists."""
    return hashlib.sha256(repr(parts).encode()).digest()


def _identity(file: Path) -> tuple[int, int]:
    """What hard links to one file share."""
    stat = file.stat()
    return stat.st_dev, stat.st_ino


def _place(file: Path | None, constant: Stored) -> object:
    return file and (*_identity(file), constant.offset)


class _Digests:
    """Digests of the content of weight files, each weight read once, whatever links lead to it."""

    def __init__(self) -> None:
        self._found: dict[object, object] = {}
        self._readers: dict[Path, BlobReader] = {}

    def __call__(self, file: Path | None, constant: Stored) -> object:
        if file is None:
            return None
        place = _place(file, constant)
        if place not in self._found:
            reader = self._readers.setdefault(file, BlobReader(file))
            blob, digest = reader.read(constant.offset), hashlib.sha256()
            for piece in reader.stream(blob):
                digest.update(piece.data)
            self._found[place] = (blob.type, blob.padding_bits, digest.digest())
        return self._found[place]
