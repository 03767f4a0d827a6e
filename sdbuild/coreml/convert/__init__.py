"""A traced graph and a checkpoint in, an ``.mlpackage`` out.

The graph is one of ``torch.export``, traced without weights; the weights go from the checkpoint to the package one
tensor at a time. What a model takes and gives (names, shapes, data types, descriptions) comes as `Port` lists.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbuild.coreml.convert import ops_attention, ops_gather, ops_math, ops_nn, ops_tensor
from sdbuild.coreml.convert.builder import FLOAT16, FLOAT32, Builder, LoadWeight
from sdbuild.coreml.convert.lowering import lower_graph
from sdbuild.coreml.convert.normalize import normalize
from sdbuild.coreml.convert.program import Program
from sdbuild.coreml.convert.weights import write_weights
from sdbuild.coreml.package import Package, write_package, write_parameters
from sdbuild.coreml.proto import FeatureTypes_pb2, Model_pb2

__all__ = ["Metadata", "Port", "convert", "ops_attention", "ops_gather", "ops_math", "ops_nn", "ops_tensor"]

_SPECIFICATIONS = {"CoreML5": 6, "CoreML6": 7, "CoreML7": 8, "CoreML8": 9}
_FLOATS = {"float16": FLOAT16, "float32": FLOAT32}
_ARRAY_TYPES = FeatureTypes_pb2.ArrayFeatureType


@dataclass(frozen=True)
class Port:
    """An input or output of a model: ``dtype`` is "float16" or "float32", what the app passes or gets."""

    name: str
    dtype: str
    description: str = ""


@dataclass(frozen=True)
class Metadata:
    """What Xcode shows of a model, and entries of one's own."""

    description: str = ""
    author: str = ""
    license: str = ""
    version: str = ""
    user: Mapping[str, str] = field(default_factory=dict)


def convert(
    exported: Program,
    load: LoadWeight,
    path: Path,
    *,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    opset: str,
    precision: str,
    metadata: Metadata,
    prefix: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Package:
    """Convert a traced graph to the package ``path``, with the names of its parameters beside it.

    Args:
        exported: ``torch.export`` of a module whose arguments and results are tensors, in the order of the ports.
        load: reads one named tensor of the checkpoint.
        path: the ``.mlpackage`` to write.
        inputs: what the model takes; shapes are the graph's.
        outputs: what it gives.
        opset: of the oldest system it must run on: CoreML5 for iOS 15 and macOS 12, to CoreML8 for iOS 18 and macOS 15.
        precision: "float16" or "float32", of weights and computation.
        metadata: shown in Xcode.
        prefix: what the traced wrapper put before the checkpoint's parameter names.
        progress: called with (tensors written, tensors in all).

    Raises:
        UserError: an operation without a lowering; a weight missing, of another shape, or out of float16's range.
    """
    float_type = _FLOATS[precision]
    builder = Builder(opset, float_type, [port.name for port in outputs])
    values = lower_graph(normalize(exported), builder, {port.name: _FLOATS[port.dtype] for port in inputs}, prefix)
    for value, port in zip(values, outputs, strict=True):
        builder.output(value, port.name, _FLOATS[port.dtype])
    spec = Model_pb2.Model(specificationVersion=_SPECIFICATIONS[opset])
    placeholders = [node for node in exported.graph.nodes if node.op == "placeholder"][-len(inputs) :]
    for port, node in zip(inputs, placeholders, strict=True):
        _describe(spec.description.input.add(), port, tuple(node.meta["val"].shape))
    for port, result in zip(outputs, values, strict=True):
        _describe(spec.description.output.add(), port, result.shape)
    _fill(spec.description.metadata, metadata)
    weights = path.with_suffix(".weights")
    write_weights(builder, weights, load, progress)
    spec.mlProgram.CopyFrom(builder.program)
    package = write_package(path, spec, weights)
    write_parameters(package, builder.parameters)
    return package


def _describe(feature: Any, port: Port, shape: tuple[int, ...]) -> None:
    feature.name = port.name
    feature.shortDescription = port.description
    array = feature.type.multiArrayType
    array.shape.extend(shape)
    array.dataType = _ARRAY_TYPES.FLOAT16 if port.dtype == "float16" else _ARRAY_TYPES.FLOAT32


def _fill(proto: Any, metadata: Metadata) -> None:
    proto.shortDescription = metadata.description
    proto.author = metadata.author
    proto.license = metadata.license
    proto.versionString = metadata.version
    for key in sorted(metadata.user):
        proto.userDefined[key] = metadata.user[key]
