"""Cut a program in two, of about equal weight, so that each part fits where the whole does not.

Run one after the other the parts compute what the whole does. Apple's Swift package feeds the second part the original
inputs and the first part's outputs by name, so a value that crosses the cut is an output ``<name>_link`` of the first part
(float32, as every output must be) and an input of the same name of the second (float16, in which it was computed:
widening and narrowing again loses nothing).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbuild.coreml.blob import BlobReader, BlobWriter
from sdbuild.coreml.mil import set_string, shape_of
from sdbuild.coreml.package import Package, write_package
from sdbuild.coreml.proto import FeatureTypes_pb2, MIL_pb2, Model_pb2
from sdbuild.coreml.rewrite import blob_values
from sdbuild.errors import UserError

_BALANCE = 0.05
"""How far from half of the weight a cut may be, of the whole, to save values that cross it."""

_LINK_SUFFIX = "_link"
_LINK_DESCRIPTION = "Passed on from the first part to the second"
_ARRAY_TYPES = FeatureTypes_pb2.ArrayFeatureType
_FEATURE_TYPES = {MIL_pb2.FLOAT16: _ARRAY_TYPES.FLOAT16, MIL_pb2.FLOAT32: _ARRAY_TYPES.FLOAT32}


@dataclass(frozen=True)
class Cut:
    """Where to cut: after how many operations, and the values that cross, in the order of their making."""

    position: int
    crossing: tuple[str, ...]


def chunk(source: Package, first: Path, second: Path, progress: Callable[[int, int], None]) -> tuple[Package, Package]:
    """Write the two parts of ``source`` as packages; ``progress`` gets (bytes written, bytes in all).

    Raises:
        UserError: a program that cannot be cut in two parts of comparable weight.
    """
    function = source.spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    if source.weights is None:
        raise UserError(f"chunk: {source.path} has no weight file, so there is nothing to divide")
    cut = _best_cut(block, BlobReader(source.weights), source.path)
    total = source.weights.stat().st_size
    head = _Part(source, range(cut.position), "First of two parts.")
    for name in cut.crossing:
        head.give(name)
    tail = _Part(source, range(cut.position, len(block.operations)), "Second of two parts.")
    for name in cut.crossing:
        tail.take(name)
    written = head.write(first, lambda done: progress(done, total))
    return written, tail.write(second, lambda done: progress(total // 2 + done, total))


def _best_cut(block: Any, reader: BlobReader, path: Path) -> Cut:
    """Among the cuts within the balance, the one where the fewest numbers cross; of equals the best balanced."""
    parts = _parts_of_constants(block)
    own = {op.outputs[0].name: _blob_bytes(op, reader) for op in block.operations if _is_constant(op)}
    sizes = {name: sum(own[part] for part in of) for name, of in parts.items()}
    last_use: dict[str, int] = {name: len(block.operations) for name in block.outputs}
    for position, operation in enumerate(block.operations):
        for name in _taken(operation):
            last_use[name] = max(last_use.get(name, -1), position)
    total, before = sum(own.values()), 0
    if not total:
        raise UserError(f"chunk: {path.name} has no weights, so there is nothing to divide")
    counted: dict[str, int] = {}  # constants, by where they are used first
    alive: dict[str, Any] = {}
    best: tuple[tuple[float, float], Cut] | None = None
    nearest = (1.0, 0)  # imbalance, position
    for position, operation in enumerate(block.operations):
        if _is_constant(operation):
            continue
        for name in _taken(operation):
            if name in parts and name not in counted:
                counted[name] = position
                before += sizes[name]
        for output in operation.outputs:
            alive[output.name] = output.type
        alive = {name: kind for name, kind in alive.items() if last_use.get(name, -1) > position}
        imbalance = abs(before / total - 0.5)
        nearest = min(nearest, (imbalance, position))
        floats = all(kind.tensorType.dataType in _FEATURE_TYPES for kind in alive.values())
        if imbalance <= _BALANCE and floats and position + 1 < len(block.operations):
            elements = sum(_elements(kind) for kind in alive.values())
            rank = (float(elements), imbalance)
            if best is None or rank < best[0]:
                best = (rank, Cut(position + 1, tuple(alive)))
    if best is None:
        shared = (name for name, first in counted.items() if first <= nearest[1] < last_use[name])
        both = max(shared, key=sizes.__getitem__, default=None)
        why = ""
        if both is not None and sizes[both] > _BALANCE * total:
            why = f": both halves use the weight {both}, {sizes[both] / total:.0%} of it all, which each would hold"
        raise UserError(
            f"chunk: {path.name} has no place to cut within {_BALANCE:.0%} of half its weight{why}; build it whole"
        )
    return best[1]


class _Part:
    """Some operations of a program, made a program: the constants they use, the inputs they take."""

    def __init__(self, source: Package, positions: range, title: str) -> None:
        self._source, self._title = source, title
        function = source.spec.mlProgram.functions["main"]
        self._opset = function.opset
        block = function.block_specializations[self._opset]
        own = [block.operations[index] for index in positions if not _is_constant(block.operations[index])]
        self._made = {output.name: output.type for op in block.operations for output in op.outputs}
        made_here = {output.name for op in own for output in op.outputs}
        taken = {name for op in own for name in _taken(op)}
        parts = _parts_of_constants(block)
        kept = made_here | taken | {part for name in taken for part in parts.get(name, ())}
        self._operations = [
            op
            for index, op in enumerate(block.operations)
            if (_is_constant(op) or index in positions) and op.outputs[0].name in kept
        ]
        self._inputs = [declared for declared in function.inputs if declared.name in taken]
        self._outputs = [name for name in block.outputs if name in made_here]
        self._given: list[str] = []
        self._received: list[str] = []

    def give(self, name: str) -> None:
        """Make a value an output, as float32."""
        self._given.append(name)

    def take(self, name: str) -> None:
        """Receive a value that the other part gives."""
        self._received.append(name)

    def write(self, path: Path, progress: Callable[[int], None]) -> Package:
        whole = self._source.spec
        spec = Model_pb2.Model(specificationVersion=whole.specificationVersion)
        spec.mlProgram.version = whole.mlProgram.version
        for key, attribute in whole.mlProgram.attributes.items():
            spec.mlProgram.attributes[key].CopyFrom(attribute)
        function = spec.mlProgram.functions["main"]
        function.opset = self._opset
        block = function.block_specializations[self._opset]
        for declared in self._inputs:
            function.inputs.add().CopyFrom(declared)
            described = next(feature for feature in whole.description.input if feature.name == declared.name)
            spec.description.input.add().CopyFrom(described)
        for name in self._received:
            function.inputs.add(name=name + _LINK_SUFFIX).type.CopyFrom(self._made[name])
            self._describe(spec.description.input, name, self._made[name].tensorType.dataType)
        received = set(self._received)
        for operation in self._operations:
            copy = block.operations.add()
            copy.CopyFrom(operation)
            for argument in copy.inputs.values():
                for binding in argument.arguments:
                    if binding.name in received:
                        binding.name += _LINK_SUFFIX
        for name in self._given:
            self._link(block, name)
            self._describe(spec.description.output, name, MIL_pb2.FLOAT32)
        for name in self._outputs:
            block.outputs.append(name)
            described = next(feature for feature in whole.description.output if feature.name == name)
            spec.description.output.add().CopyFrom(described)
        metadata = spec.description.metadata
        metadata.CopyFrom(whole.description.metadata)
        metadata.shortDescription = f"{metadata.shortDescription} {self._title}".strip()
        return write_package(path, spec, self._copy_weights(block, path.with_suffix(".weights"), progress))

    def _link(self, block: Any, name: str) -> None:
        kind = self._made[name]
        if kind.tensorType.dataType == MIL_pb2.FLOAT32:
            operation = block.operations.add(type="identity")
        else:
            constant = block.operations.add(type="const")
            text = f"{name}{_LINK_SUFFIX}_dtype_0"
            constant.outputs.add(name=text).type.tensorType.dataType = MIL_pb2.STRING
            for key, content in (("name", text), ("val", "fp32")):
                set_string(constant.attributes[key], content)
            operation = block.operations.add(type="cast")
            operation.inputs["dtype"].arguments.add(name=text)
        operation.inputs["x"].arguments.add(name=name)
        output = operation.outputs.add(name=name + _LINK_SUFFIX)
        output.type.CopyFrom(kind)
        output.type.tensorType.dataType = MIL_pb2.FLOAT32
        set_string(operation.attributes["name"], name + _LINK_SUFFIX)
        block.outputs.append(name + _LINK_SUFFIX)

    def _describe(self, features: Any, name: str, dtype: int) -> None:
        feature = features.add(name=name + _LINK_SUFFIX, shortDescription=_LINK_DESCRIPTION)
        feature.type.multiArrayType.shape.extend(shape_of(self._made[name]))
        feature.type.multiArrayType.dataType = _FEATURE_TYPES[dtype]

    def _copy_weights(self, block: Any, path: Path, progress: Callable[[int], None]) -> Path:
        assert self._source.weights is not None
        reader, written = BlobReader(self._source.weights), 0
        with BlobWriter(path) as writer:
            for operation in block.operations:
                for value in blob_values(operation):
                    blob = reader.read(value.blobFileValue.offset)
                    value.blobFileValue.offset = writer.add(
                        blob.type, len(blob.data), reader.stream(blob), blob.padding_bits
                    )
                    written += len(blob.data)
                    progress(written)
        return path


def _is_constant(operation: Any) -> bool:
    return bool(operation.type == "const" or operation.type.startswith("constexpr_"))


def _taken(operation: Any) -> list[str]:
    return [binding.name for argument in operation.inputs.values() for binding in argument.arguments if binding.name]


def _parts_of_constants(block: Any) -> dict[str, frozenset[str]]:
    """By name of a constant, the first outputs of all operations that make it up: its own and those that it is decoded from."""
    parts: dict[str, frozenset[str]] = {}
    for operation in block.operations:
        if _is_constant(operation):
            of = frozenset({operation.outputs[0].name}).union(*(parts.get(name, ()) for name in _taken(operation)))
            parts |= {output.name: of for output in operation.outputs}
    return parts


def _blob_bytes(operation: Any, reader: BlobReader) -> int:
    return sum(len(reader.read(value.blobFileValue.offset).data) for value in blob_values(operation))


def _elements(kind: Any) -> int:
    count = 1
    for size in shape_of(kind):
        count *= size
    return count
