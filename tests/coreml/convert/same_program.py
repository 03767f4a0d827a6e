"""Two packages hold the same program: the same operations on the same values, whatever their names.

Names and, where dataflow leaves it open, the order of operations are the writer's own business. All else is compared. An
operation is what its type, its arguments and its results are; an argument is a model's input by its name, a constant by
its data type, shape, content and place (in the program or in the weight file), or a result of another operation,
which is again all of that. So one number in one weight tells two programs apart.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from sdbuild.coreml.blob import BlobReader
from sdbuild.coreml.mil import shape_of
from sdbuild.coreml.package import Package
from sdbuild.coreml.proto import MIL_pb2

_SHOWN = 6
_TYPES = {number: name.lower() for name, number in MIL_pb2.DataType.items()}
_NUMPY = {"float16": np.float16, "float32": np.float32, "int32": np.int32, "bool": np.bool_}


@dataclass(frozen=True)
class Operation:
    """An operation: ``identity`` is all it depends on, ``sources`` are the identities of the operations it uses."""

    identity: str
    text: str
    sources: tuple[str, ...]


@dataclass
class Program:
    """What a package computes; ``outputs`` are the identities of its results by name."""

    interface: dict[str, str]
    operations: list[Operation] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    weights: Counter[str] = field(default_factory=Counter)


def differences(ours: Package, theirs: Package) -> str:
    """Nothing where both are the same program; else the first operations at which they part, one a line."""
    left, right = _read(ours), _read(theirs)
    lines = [
        f"{name}: {left.interface.get(name)} against {right.interface.get(name)}"
        for name in sorted(left.interface.keys() | right.interface.keys())
        if left.interface.get(name) != right.interface.get(name)
    ]
    for mark, one, other in (("-", right, left), ("+", left, right)):
        lines += _missing(mark, one, other)
    lines += [
        f"output {name} is computed otherwise"
        for name in left.outputs.keys() | right.outputs.keys()
        if left.outputs.get(name) != right.outputs.get(name)
    ]
    if left.weights != right.weights:
        lines.append(f"weight file: + {left.weights - right.weights} - {right.weights - left.weights}")
    return "\n".join(lines)


def _missing(mark: str, one: Program, other: Program) -> list[str]:
    """The operations of ``one`` that ``other`` lacks, those first which only follow from nothing that it lacks."""
    lacking = Counter(op.identity for op in one.operations) - Counter(op.identity for op in other.operations)
    first = [op for op in one.operations if op.identity in lacking and not lacking.keys() & set(op.sources)]
    lines = [f"{mark} {op.text}" for op in first[:_SHOWN]]
    return [*lines, f"{mark} … {lacking.total()} operations in all"] if lines else []


def _read(package: Package) -> Program:
    """Resolve the one function of a package, with its weights."""
    (function,) = package.spec.mlProgram.functions.values()
    block = function.block_specializations[function.opset]
    blobs = BlobReader(package.weights) if package.weights is not None else None
    program = Program(_interface(package, function))
    known = {item.name: (f"input {item.name} {_type(item.type)}", "") for item in function.inputs}
    for op in block.operations:
        assert not op.blocks
        assert set(op.attributes) <= {"name", "val"}, f"{op.type} has attributes {set(op.attributes)}"
        if op.type == "const":
            (output,) = op.outputs
            text, stored = _constant(op.attributes["val"], blobs)
            known[output.name] = (text, "")
            program.weights.update([text] * stored)
            continue
        arguments = {
            name: [known[part.name] if part.name else _constant(part.value, blobs) for part in argument.arguments]
            for name, argument in sorted(op.inputs.items())
        }
        if op.type == "transpose" and arguments["perm"][0][0] == _idle_order(len(shape_of(op.outputs[0].type))):
            known[op.outputs[0].name] = arguments["x"][0]
            continue
        results = [_type(output.type) for output in op.outputs]
        named = ", ".join(f"{name}={' & '.join(text for text, _ in parts)}" for name, parts in arguments.items())
        text = f"{op.type}({named}) -> {' & '.join(results)}"
        identity = hashlib.sha256(text.encode()).hexdigest()
        sources = tuple(source for parts in arguments.values() for _, source in parts if source)
        readable = f"{op.type}({_short(named)}) -> {' & '.join(results)}   [{op.outputs[0].name}]"
        program.operations.append(Operation(identity, readable, sources))
        for index, output in enumerate(op.outputs):
            known[output.name] = (f"{op.type} {identity}:{index} {results[index]}", identity)
    program.outputs = {name: known[name][0] for name in block.outputs}
    return program


def _interface(package: Package, function: object) -> dict[str, str]:
    """What an app sees, and the versions that decide where it runs; descriptions are the writer's own."""
    spec = package.spec
    found = {"specification": str(spec.specificationVersion), "opset": str(function.opset)}
    for kind, features in (("input", spec.description.input), ("output", spec.description.output)):
        names = ", ".join(feature.name for feature in features)
        found[f"{kind}s"] = names
        for feature in features:
            array = feature.type.multiArrayType
            found[f"{kind} {feature.name}"] = f"{array.dataType} {list(array.shape)} {feature.type.isOptional}"
    return found


def _constant(value: object, blobs: BlobReader | None) -> tuple[str, bool]:
    """A constant as text, and whether it lies in the weight file."""
    kind = _type(value.type)
    dtype, shape = _TYPES[value.type.tensorType.dataType], shape_of(value.type)
    if value.WhichOneof("value") == "blobFileValue":
        assert blobs is not None
        data = blobs.read(value.blobFileValue.offset).data
        return f"weight {kind} {hashlib.sha256(data).hexdigest()}", True
    tensor = value.immediateValue.tensor
    field_name = tensor.WhichOneof("value")
    content = getattr(tensor, field_name).values
    if dtype == "string":
        return f"{list(content)}", False
    array = np.frombuffer(content, _NUMPY[dtype]) if field_name == "bytes" else np.array(content, _NUMPY[dtype])
    assert array.size == int(np.prod(shape))
    return f"{kind} {array.tolist()}", False


def _idle_order(rank: int) -> str:
    """Of a transposition that moves nothing: coremltools drops it, but not where it is what a model gives."""
    return f"int32[{rank}] {list(range(rank))}"


def _type(kind: object) -> str:
    assert kind.WhichOneof("type") == "tensorType"
    return f"{_TYPES[kind.tensorType.dataType]}{list(shape_of(kind))}"


def _short(text: str) -> str:
    """Digests cut, so that a line can be read."""
    return " ".join(word[:8] if len(word) >= 64 else word for word in text.split(" "))
