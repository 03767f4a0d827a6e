"""Programs of one operation, written by coremltools and run by the runtime, and coremltools' own inference of values."""

import itertools
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings

warnings.filterwarnings("ignore")
import coremltools as ct  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402, N813
from coremltools.converters.mil.backend.mil.load import MILProtoExporter  # noqa: E402
from coremltools.converters.mil.mil import Function, Program, types  # noqa: E402

from sdbuild.arrays import Array  # noqa: E402
from sdbuild.coreml.package import write_package  # noqa: E402
from sdbuild.coreml.proto import Model_pb2  # noqa: E402
from sdbuild.coreml.runtime import Model, load  # noqa: E402

Body = Callable[..., Any]

IOS15, IOS16, IOS17, IOS18 = ct.target.iOS15, ct.target.iOS16, ct.target.iOS17, ct.target.iOS18

drawn = settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
"""Few examples, the same every time."""

_TYPES = {"f4": types.fp32, "f2": types.fp16, "i4": types.int32, "b1": types.bool, "u1": types.uint8, "i1": types.int8}
_folder = tempfile.TemporaryDirectory(prefix="runtime-tests-")
_number = itertools.count()


def write(body: Body, inputs: Mapping[str, Array], opset: Any = IOS16) -> Path:
    """A package whose program is ``body`` of inputs of the types and shapes of ``inputs``."""
    placeholders = {
        name: mb.placeholder(value.shape, _TYPES[value.dtype.str[1:]], allow_rank0_input=True)
        for name, value in inputs.items()
    }
    with Function(placeholders, opset_version=opset) as function:
        outputs = body(**function.inputs)
        function.set_outputs(list(outputs) if isinstance(outputs, tuple | list) else [outputs])
    program = Program()
    program.add_function("main", function)
    path = Path(_folder.name) / f"{next(_number)}.mlpackage"
    weights = path.with_suffix("")
    weights.mkdir()
    exporter = MILProtoExporter(program, str(weights), opset.value)
    proto = exporter.export()
    exporter.blob_writers.clear()  # closes the file
    spec = Model_pb2.Model(specificationVersion=opset.value)
    spec.mlProgram.ParseFromString(proto.SerializeToString())
    for value in function.inputs:
        spec.description.input.add(name=value)
    for output in function.outputs:
        spec.description.output.add(name=output.name)
    file = weights / "weight.bin"
    return write_package(path, spec, file if file.exists() else None).path


def run(body: Body, inputs: Mapping[str, Array], opset: Any = IOS16, **options: Any) -> list[Array]:
    """The outputs of ``body``, computed by the runtime; ``inputs`` are given at run time."""
    model = load(write(body, inputs, opset), **options)
    return list(predict(model, inputs).values())


def predict(model: Model, inputs: Mapping[str, Array]) -> dict[str, Array]:
    return model.predict(inputs)


def inferred(body: Body, inputs: Mapping[str, Array], opset: Any = IOS16) -> list[Array]:
    """The outputs of ``body`` as coremltools infers them when every input is constant."""
    with Function({}, opset_version=opset):
        outputs = body(**inputs)
        several = outputs if isinstance(outputs, tuple | list) else [outputs]
        values = [np.asarray(output.val) for output in several]
    assert all(value.dtype != object for value in values), "coremltools infers no value here"
    return values


def assert_close(actual: Sequence[Array], expected: Sequence[Array], tolerance: float = 2e-5) -> None:
    """Equal shapes, and values within ``tolerance`` of the largest."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        other = np.asarray(other)
        assert one.shape == other.shape
        finite = other[np.isfinite(other)] if other.dtype.kind == "f" else other
        scale = max(1.0, float(np.abs(finite.astype(np.float64)).max())) if finite.size else 1.0
        np.testing.assert_allclose(one.astype(np.float64), other.astype(np.float64), rtol=0, atol=tolerance * scale)


def assert_inferred(body: Body, inputs: Mapping[str, Array], opset: Any = IOS16, tolerance: float = 2e-5) -> None:
    """The runtime computes what coremltools infers."""
    assert_close(run(body, inputs, opset), inferred(body, inputs, opset), tolerance)


def floats(shape: Sequence[int], seed: int = 0, low: float = -2.0, high: float = 2.0) -> Array:
    """Uniform float32 values."""
    return np.random.default_rng(seed).uniform(low, high, tuple(shape)).astype(np.float32)


def integers(shape: Sequence[int], seed: int = 0, low: int = -9, high: int = 9) -> Array:
    """Uniform int32 values."""
    return np.random.default_rng(seed).integers(low, high + 1, tuple(shape)).astype(np.int32)
