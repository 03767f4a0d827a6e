"""A model as the compiler takes it: its one function, found and checked; what it cannot vouch for is refused here.

The rest of the compiler prints what it is given. So whatever was never compared with Apple's output must stop here, or,
for the form of a type or value, in ``literals``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sdbuild.coreml.compiler.errors import CompileError, UnverifiedError
from sdbuild.coreml.compiler.features import check_agreement, check_features
from sdbuild.coreml.compiler.operations import histogram_key
from sdbuild.opset import Opset

_SPECS = tuple(opset.specification for opset in Opset)
_WITHOUT_INPUTS = 9  # the specification version since which models may have none

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_@]*")
_KEYWORD = re.compile(
    "any|bool|program|func|tensor|list|dict|tuple|true|false|string|state|bf16|fp(16|32|64)|u?int(8|16|32|64)"
)
"""The names that coremltools avoids (``NameSanitizer``)."""


@dataclass(frozen=True)
class Main:
    """The function ``main`` of a model that may be compiled: protobuf messages, and its opset."""

    opset: Opset
    inputs: Any
    operations: Any
    outputs: Any


def find_main(spec: Any) -> Main:
    """The function of a model.

    Raises:
        UnverifiedError: the model has something in it that the compiler does not vouch for; the message names it.
        CompileError: the model is at odds with itself.
    """
    _check_model(spec)
    check_description(spec)
    main = _main(spec)
    types = {value.name: value.type for value in main.inputs}
    _check_boundary("input", [value.name for value in main.inputs], spec.description.input, types)
    if not main.inputs and spec.specificationVersion < _WITHOUT_INPUTS:
        raise CompileError(
            f"a model without inputs, which Core ML takes from specification version {_WITHOUT_INPUTS} on, not at "
            f"{spec.specificationVersion}"
        )
    _check_operations(main, types)
    if not main.outputs:
        raise CompileError("a model without outputs, which Core ML does not take")
    _check_boundary("output", main.outputs, spec.description.output, types)
    return main


def position(index: int, operation: Any) -> str:
    """Where an operation is, for messages: ``operation 12, conv "unet_conv_in"``."""
    names = ", ".join(output.name for output in operation.outputs)
    return f'operation {index}, {operation.type} "{names}"'


def inline_values(operation: Any) -> Iterator[Any]:
    """The values that stand in an operation's inputs themselves, where a name would do."""
    for argument in operation.inputs.values():
        for binding in argument.arguments:
            if binding.HasField("value"):
                yield binding.value


def _check_model(spec: Any) -> None:
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise UnverifiedError(f"a model of type {kind}, not an ML Program" if kind else "a model of no known type")
    if spec.specificationVersion not in _SPECS:
        raise UnverifiedError(f"specification version {spec.specificationVersion} (known: {_SPECS[0]} to {_SPECS[-1]})")


def check_description(spec: Any, *, of_pipeline: bool = False) -> None:
    """Refuse what a model may not have, or say of its inputs and outputs.

    Raises:
        UnverifiedError: the message names it.
    """
    description = spec.description
    if spec.isUpdatable:
        raise UnverifiedError("an updatable model")
    if description.functions or description.defaultFunctionName:
        raise UnverifiedError("a multifunction description")
    if description.state:
        raise UnverifiedError(f'the state "{description.state[0].name}"')
    if description.trainingInput:
        raise UnverifiedError("training inputs")
    if description.predictedFeatureName or description.predictedProbabilitiesName:
        raise UnverifiedError("a classifier")
    for role in ("input", "output"):
        check_features(role, getattr(description, role), spec.specificationVersion, of_pipeline=of_pipeline)


def _main(spec: Any) -> Main:
    program = spec.mlProgram
    if program.version != 1:
        raise UnverifiedError(f"a program of version {program.version}")
    if program.docString:
        raise UnverifiedError("the documentation string of the program")
    if set(program.attributes) - {"buildInfo"}:
        raise UnverifiedError(f"program attributes: {_listed(set(program.attributes) - {'buildInfo'})}")
    if list(program.functions) != ["main"]:
        raise UnverifiedError(f"functions other than one main: {_listed(program.functions)}")
    function = program.functions["main"]
    if function.attributes:
        raise UnverifiedError(f"attributes of the function: {_listed(function.attributes)}")
    if list(function.block_specializations) != [function.opset]:
        raise UnverifiedError(f"specializations of the function: {_listed(function.block_specializations)}")
    opset = Opset.of_mil(function.opset)
    if opset is None:
        raise UnverifiedError(f"the opset {function.opset} (known: {', '.join(known.mil for known in Opset)})")
    if opset.specification > spec.specificationVersion:
        raise CompileError(f"the opset {function.opset} needs specification version {opset.specification} or later")
    block = function.block_specializations[function.opset]
    if block.inputs or block.attributes:
        raise UnverifiedError("inputs or attributes of the function's block")
    return Main(opset, function.inputs, block.operations, block.outputs)


def _check_boundary(role: str, names: list[str], features: Any, types: Mapping[str, Any]) -> None:
    """Whether the inputs or outputs are those described; ``types``: the ``ValueType`` of every value by name."""
    described = {feature.name: feature for feature in features}
    if set(names) != set(described):
        raise CompileError(f"the program's {role}s ({_listed(names)}) are not those described ({_listed(described)})")
    if not len(names) == len(features) == len(described):
        raise CompileError(f"two {role}s of one name: {_listed(names if len(names) > len(described) else described)}")
    for name in names:
        check_agreement(role, described[name], types[name])


def _check_operations(main: Main, types: dict[str, Any]) -> None:
    """See that each operation is known, and takes what was made before it; the types of what it makes join ``types``."""
    for name in types:
        _check_identifier(name, "the function's inputs")
    for index, operation in enumerate(main.operations):
        place = position(index, operation)
        if operation.blocks:
            raise UnverifiedError(f"{place}: a nested block")
        if not operation.outputs:
            raise UnverifiedError(f"{place}: an operation without outputs")
        if operation.type != "const" and histogram_key(operation.type, main.opset.system) is None:
            raise UnverifiedError(f"{place}: the operation {operation.type} at {main.opset.system}")
        for key in (*operation.inputs, *operation.attributes):
            _check_identifier(key, place)
        for key, argument in operation.inputs.items():
            if not argument.arguments:
                raise CompileError(f"{place}: the input {key} is empty")
            for binding in argument.arguments:
                if not binding.HasField("value") and binding.name not in types:
                    raise CompileError(f'{place}: the input {key} is "{binding.name}", which nothing before it defines')
        for output in operation.outputs:
            _check_identifier(output.name, place)
            if output.name in types:
                raise CompileError(f'{place}: "{output.name}" is defined before it')
            types[output.name] = output.type
    undefined = sorted(set(main.outputs) - set(types))
    if undefined:
        raise CompileError(f'the output "{undefined[0]}" is not the output of any operation')


def _check_identifier(name: str, place: str) -> None:
    if not _IDENTIFIER.fullmatch(name):
        raise UnverifiedError(f"{place}: the name {name!r}, not an identifier of MIL")
    if _KEYWORD.fullmatch(name):
        raise UnverifiedError(f"{place}: the name {name!r}, a word of MIL itself")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
