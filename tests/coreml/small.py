"""A small model by coremltools, and what its compressed weights are made of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdbuild.coreml.blob import BlobReader
from sdbuild.coreml.mil import shape_of
from sdbuild.coreml.package import Package
from tests.once import once


class Small(nn.Module):
    """Weights of at least 10,000 elements a group: smaller ones coremltools does not cluster exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(64, 64, 3, bias=False)
        self.up = nn.ConvTranspose2d(64, 320, 3, bias=False)
        self.linear = nn.Linear(320, 320)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.up(self.conv(x)).mean((2, 3)))


def small(target: str) -> Path:
    """Its package for a target such as ``iOS16``, converted once for all tests."""
    import coremltools as ct

    def make(folder: Path) -> None:
        torch.manual_seed(0)
        traced = torch.jit.trace(Small().eval(), torch.randn(1, 64, 6, 6))
        inputs, outputs = [ct.TensorType("x", (1, 64, 6, 6))], [ct.TensorType("y")]
        system = getattr(ct.target, target)
        ct.convert(traced, inputs=inputs, outputs=outputs, minimum_deployment_target=system).save(
            str(folder / "model.mlpackage")
        )

    return once(f"small-{target}", make) / "model.mlpackage"


Tree = dict[str, Any]
"""An operation: its type, its outputs' types, and for each part the type, shape and bytes of a value, or another operation."""


def weights(package: Package) -> dict[str, Tree]:
    """By name of the operation that takes it, each compressed weight."""
    assert package.weights is not None
    reader = BlobReader(package.weights)
    found = {}
    for function in package.spec.mlProgram.functions.values():
        operations = function.block_specializations[function.opset].operations
        made = {output.name: (each, place) for each in operations for place, output in enumerate(each.outputs)}
        for each in operations:
            for name in (name for key in ("weight", "x", "y") for name in _taken(each, key)):
                if (
                    name in made
                    and made[name][0].type.startswith("constexpr_")
                    and not each.type.startswith("constexpr_")
                ):
                    found[_name(each)] = _tree(name, made, reader)
    return found


def _name(operation: Any) -> str:
    return str(operation.attributes["name"].immediateValue.tensor.strings.values[0])


def _taken(operation: Any, key: str) -> Iterator[str]:
    if key in operation.inputs:
        yield from (binding.name for binding in operation.inputs[key].arguments)


def _tree(name: str, made: dict[str, Any], reader: BlobReader) -> Tree:
    operation, place = made[name]
    parts: Tree = {key: _value(value, reader) for key, value in operation.attributes.items() if key != "name"}
    for key, argument in operation.inputs.items():
        (binding,) = argument.arguments
        parts[key] = _tree(binding.name, made, reader) if binding.name else _value(binding.value, reader)
    outputs = [output.type.SerializeToString(deterministic=True) for output in operation.outputs]
    return {"type": operation.type, "outputs": outputs, "place": place, "parts": parts}


def _value(value: Any, reader: BlobReader) -> tuple[Any, ...]:
    """Type, shape, bytes; then of one in the weight file its blob's type and padding."""
    kind, shape = value.type.tensorType.dataType, shape_of(value.type)
    if value.HasField("blobFileValue"):
        blob = reader.read(value.blobFileValue.offset)
        return (kind, shape, blob.data.tobytes(), blob.type, blob.padding_bits)
    return (kind, shape, value.immediateValue.tensor.SerializeToString(deterministic=True))
