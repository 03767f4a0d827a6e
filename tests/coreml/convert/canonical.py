"""Programs told apart by all but the names of what they compute on the way: digests to compare with later ones."""

import hashlib
import json
from typing import Any

from sdbuild.coreml.package import Package, read_parameters
from sdbuild.coreml.proto import Model_pb2


def digests(package: Package) -> dict[str, str]:
    """Of the model with its values renamed in the order in which they are made, of which constant holds which parameter, and of
    the weight file.
    """
    spec = Model_pb2.Model()
    spec.CopyFrom(package.spec)
    names = _rename(spec)
    parameters = sorted((names[name], parameter) for name, parameter in read_parameters(package).items())
    assert package.weights is not None
    return {
        "program": _digest(spec.SerializeToString(deterministic=True)),
        "parameters": _digest(json.dumps(parameters).encode()),
        "weights": _digest(package.weights.read_bytes()),
    }


def _rename(spec: Any) -> dict[str, str]:
    (function,) = spec.mlProgram.functions.values()
    block = function.block_specializations[function.opset]
    names = {name: name for name in [*(each.name for each in function.inputs), *block.outputs]}
    for number, operation in enumerate(block.operations):
        for argument in operation.inputs.values():
            for part in argument.arguments:
                part.name = names[part.name]
        for index, output in enumerate(operation.outputs):
            output.name = names.setdefault(output.name, f"{number}:{index}")
        operation.attributes["name"].immediateValue.tensor.strings.values[:] = [str(number)]
    return names


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
