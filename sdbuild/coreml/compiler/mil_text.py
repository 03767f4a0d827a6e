"""The program as text, ``model.mil``, a line at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

from sdbuild.coreml.compiler.errors import CompileError, UnverifiedError
from sdbuild.coreml.compiler.features import is_ranged
from sdbuild.coreml.compiler.literals import Text, quote
from sdbuild.coreml.compiler.program import Main, position

_BARE_SCALARS_SINCE = 9  # specification version: ``program(1.3)``


def mil_lines(spec: Any, main: Main, build_info: Mapping[str, str]) -> Iterator[str]:
    """The lines of ``model.mil``, to be joined as they are: the last has no end of line, as Apple's has none.

    ``build_info`` is added to the program's own, and wins.

    Raises:
        CompileError: a value that does not fit its type, or (UnverifiedError) of a form never seen compiled.
    """
    bare = spec.specificationVersion >= _BARE_SCALARS_SINCE
    text = Text(bare)
    yield f"program({'1.3' if bare else '1.0'})\n"
    yield f"[buildInfo = {_build_info(text, spec.mlProgram, build_info)}]\n"
    yield "{\n"
    inputs = _joined(f"{text.type(value.type)} {value.name}" for value in sorted(main.inputs, key=lambda v: v.name))
    yield f"    func main<{main.opset.system}>({inputs}) {_flexible_shapes(text, spec.description.input)}{{\n"
    for index, operation in enumerate(main.operations):
        try:
            yield f"            {_operation(text, operation)};\n"
        except CompileError as error:
            raise type(error)(f"{position(index, operation)}: {error}") from None
    yield f"        }} -> ({_joined(main.outputs)});\n"
    yield "}"


def _operation(text: Text, operation: Any) -> str:
    outputs = _joined(f"{text.type(output.type)} {output.name}" for output in operation.outputs)
    inputs = _joined(f"{key} = {_argument(text, argument)}" for key, argument in sorted(operation.inputs.items()))
    attributes = _joined(f"{key} = {text.value(value)}" for key, value in sorted(operation.attributes.items()))
    return f"{outputs} = {operation.type}({inputs})" + (f"[{attributes}]" if attributes else "")


def _argument(text: Text, argument: Any) -> str:
    bindings = [
        text.value(binding.value) if binding.HasField("value") else binding.name for binding in argument.arguments
    ]
    return bindings[0] if len(bindings) == 1 else f"({_joined(bindings)})"


def _build_info(text: Text, program: Any, build_info: Mapping[str, str]) -> str:
    entries = {}
    if "buildInfo" in program.attributes:
        for pair in program.attributes["buildInfo"].immediateValue.dictionary.values:
            key, value = (list(item.immediateValue.tensor.strings.values) for item in (pair.key, pair.value))
            if len(key) != 1 or len(value) != 1:
                raise UnverifiedError("a buildInfo of other things than strings")
            entries[key[0]] = value[0]
    pairs = sorted((entries | dict(build_info)).items())
    string = text.scalar_type("string")
    return f"dict<{string}, {string}>({{{_joined(f'{{{quote(key)}, {quote(value)}}}' for key, value in pairs)}}})"


def _flexible_shapes(text: Text, features: Any) -> str:
    """The attribute of a function with inputs of ranged shape: their default shapes, and the ranges."""
    defaults, ranges = [], []
    for feature in sorted(filter(is_ranged, features), key=lambda f: f.name):
        array = feature.type.multiArrayType
        sizes = [[size.lowerBound, size.upperBound] for size in array.shapeRange.sizeRanges]
        defaults.append(f"{{{quote(feature.name)}, {list(array.shape)}}}")
        ranges.append(f"{{{quote(feature.name)}, {sizes}}}")
    if not defaults:
        return ""
    string = text.scalar_type("string")
    shapes = f"tuple<{string}, dict<{string}, tensor<int32, [?]>>>"
    bounds = f"tuple<{string}, dict<{string}, list<tensor<int32, [2]>, ?>>>"
    content = f'(("DefaultShapes", {{{_joined(defaults)}}}), ("RangeDims", {{{_joined(ranges)}}}))'
    return f"[FlexibleShapeInformation = tuple<{shapes}, {bounds}>({content})] "


def _joined(parts: Any) -> str:
    return ", ".join(parts)
