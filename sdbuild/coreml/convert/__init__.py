"""A traced graph and a checkpoint in, an ``.mlpackage`` out.

The graph was traced without weights, and says what is computed of which; the weights go from the checkpoint to the package
one tensor at a time. What a model takes and gives (names, shapes, data types, descriptions) comes as `Port` lists.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbuild.coreml.convert import (
    ops_attention,
    ops_gather,
    ops_math,
    ops_nn,
    ops_tensor,
    ops_unet_attention,
)
from sdbuild.coreml.convert.builder import FLOAT16, FLOAT32, Builder, LoadHalf, LoadWeight
from sdbuild.coreml.convert.lowering import lower_graph
from sdbuild.coreml.convert.normalize import normalize
from sdbuild.coreml.convert.weights import write_weights
from sdbuild.coreml.package import Package, write_package, write_parameters
from sdbuild.coreml.proto import FeatureTypes_pb2, Model_pb2
from sdbuild.graphs.graph import Graph
from sdbuild.opset import Opset

__all__ = [
    "Metadata",
    "Port",
    "convert",
    "ops_attention",
    "ops_gather",
    "ops_math",
    "ops_nn",
    "ops_tensor",
    "ops_unet_attention",
]

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
    graph: Graph,
    load: LoadWeight,
    path: Path,
    *,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    opset: Opset,
    precision: str,
    attention: str = "original",
    metadata: Metadata,
    progress: Callable[[int, int], None] = lambda done, total: None,
    load_half: LoadHalf | None = None,
) -> Package:
    """Convert a traced graph to the package ``path``, with the names of its parameters beside it.

    Args:
        graph: of a module whose arguments and results are tensors, in the order of the ports; left as it is.
        load: reads one named tensor of the checkpoint.
        path: the ``.mlpackage`` to write.
        inputs: what the model takes; shapes are the graph's.
        outputs: what it gives.
        opset: of the oldest system it must run on.
        precision: "float16" or "float32", of weights and computation.
        attention: how a UNet's attention is written, see `sdbuild.coreml.convert.ops_unet_attention`.
        metadata: shown in Xcode.
        progress: called with (tensors written, tensors in all).
        load_half: reads those that are computed as they are read, if it is for a program in float16.

    Raises:
        UserError: an operation without a lowering; a weight missing, of another shape, or out of float16's range.
    """
    float_type = _FLOATS[precision]
    builder = Builder(opset, float_type, [port.name for port in outputs])
    values = lower_graph(normalize(graph), builder, {port.name: _FLOATS[port.dtype] for port in inputs}, attention)
    for value, port in zip(values, outputs, strict=True):
        builder.output(value, port.name, _FLOATS[port.dtype])
    spec = Model_pb2.Model(specificationVersion=opset.specification)
    for port, node in zip(inputs, graph.inputs, strict=True):
        _describe(spec.description.input.add(), port, node.shape)
    for port, result in zip(outputs, values, strict=True):
        _describe(spec.description.output.add(), port, result.shape)
    _fill(spec.description.metadata, metadata)
    weights = path.with_suffix(".weights")
    write_weights(builder, weights, load, progress, load_half)
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
