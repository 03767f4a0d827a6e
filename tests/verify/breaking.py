"""Ways to break a package: the faults that a converter, a compressor or a careless hand leaves behind."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.coreml.blob import BlobReader
from sdbuild.coreml.mil import shape_of
from sdbuild.coreml.package import Package, read_package
from sdbuild.coreml.rewrite import blob_values

Fault = Callable[[Package], None]

_RECORD = 64
"""Bytes of the record before a weight's payload."""


def broken(package: Path, folder: Path, *faults: Fault) -> Path:
    """A copy of a package with faults, in a folder of its own."""
    copy = folder / package.name
    shutil.copytree(package, copy)
    for fault in faults:
        fault(read_package(copy))
    return copy


def zeroed(weight: str) -> Fault:
    """A weight tensor of zeros."""

    def fault(package: Package) -> None:
        (operation,) = (each for each in _operations(package) if each.outputs[0].name == weight)
        held = operation.attributes["val"].immediateValue.tensor.bytes
        if held.values:  # a small one, in the program
            assert any(held.values)
            held.values = bytes(len(held.values))
            package.model_file.write_bytes(package.spec.SerializeToString(deterministic=True))
            return
        data = _weight(package, weight)
        assert data.any()
        data[:] = 0
        data.flush()

    return fault


def swapped(weight: str, first: int, second: int) -> Fault:
    """Two output channels of a weight tensor in each other's place."""

    def fault(package: Package) -> None:
        data = _weight(package, weight)
        assert (data[first] != data[second]).any()
        data[[first, second]] = data[[second, first]]
        data.flush()

    return fault


def epsilon(pattern: str, value: float) -> Fault:
    """The small number that norms add to a variance, and a wrong one, in all constants whose names have ``pattern``."""

    def fault(package: Package) -> None:
        found = [each for each in _operations(package) if re.search(pattern, each.outputs[0].name)]
        assert found
        for operation in found:
            held = operation.attributes["val"].immediateValue.tensor.bytes
            wrong = np.float16(value).tobytes()
            assert len(held.values) == len(wrong)
            assert held.values != wrong
            held.values = wrong
        package.model_file.write_bytes(package.spec.SerializeToString(deterministic=True))

    return fault


def renamed(old: str, new: str) -> Fault:
    """An input or output under another name."""

    def fault(package: Package) -> None:
        function = package.spec.mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        features = [*package.spec.description.input, *package.spec.description.output]
        named = [*features, *function.inputs, *(output for each in block.operations for output in each.outputs)]
        bindings = [
            binding for each in block.operations for argument in each.inputs.values() for binding in argument.arguments
        ]
        found = [each for each in (*named, *bindings) if each.name == old]
        assert found
        for each in found:
            each.name = new
        block.outputs[:] = [new if name == old else name for name in block.outputs]
        package.model_file.write_bytes(package.spec.SerializeToString(deterministic=True))

    return fault


def _operations(package: Package) -> Any:
    function = package.spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def _weight(package: Package, name: str) -> Any:
    """The tensor of a weight, float16, writable in its file."""
    (operation,) = (each for each in _operations(package) if each.outputs[0].name == name)
    (value,) = blob_values(operation)
    assert package.weights is not None
    payload = BlobReader(package.weights).read(value.blobFileValue.offset).data
    start = package.weights.read_bytes().index(payload.tobytes(), value.blobFileValue.offset + _RECORD)
    data = np.memmap(package.weights, np.float16, "r+", start, shape_of(value.type))
    assert data.nbytes == payload.nbytes
    return data
