"""What the compiler does not vouch for, or finds broken, stops it with one message that names it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbuild.coreml.compiler import CompileError, compile_package
from tests.coreml.compiler.models import linear, tensor_type, value

Change = Callable[[Any], object]


def function(spec: Any) -> Any:
    return spec.mlProgram.functions["main"]


def block(spec: Any) -> Any:
    return function(spec).block_specializations["CoreML7"]


def operation(spec: Any, index: int = -1) -> Any:
    return block(spec).operations[index]


def array(spec: Any) -> Any:
    return spec.description.input[0].type.multiArrayType


def _state(spec: Any) -> None:
    spec.description.state.add(name="cache").type.stateType.arrayType.shape.append(1)


def _state_input(spec: Any) -> None:
    kind = function(spec).inputs[0].type
    kind.stateType.wrappedType.CopyFrom(tensor_type("FLOAT16", [1, 4]))


def _no_inputs(spec: Any) -> None:
    spec.description.input.pop()
    function(spec).inputs.pop()
    operation(spec).inputs["x"].arguments[0].value.CopyFrom(value("FLOAT16", [1.0] * 4, [1, 4]))


def _no_outputs(spec: Any) -> None:
    spec.description.output.pop()
    block(spec).outputs.pop()


def _constant(content: Any) -> Change:
    return lambda spec: operation(spec, 1).attributes["val"].CopyFrom(content)


def _opset(name: str) -> Change:
    def change(spec: Any) -> None:
        function(spec).opset = name
        function(spec).block_specializations[name].CopyFrom(block(spec))
        del function(spec).block_specializations["CoreML7"]

    return change


def _range(low: int, high: int) -> Change:
    def change(spec: Any) -> None:
        array(spec).shapeRange.sizeRanges.add(lowerBound=1, upperBound=1)
        array(spec).shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)

    return change


def _output_range(spec: Any) -> None:
    ranged = spec.description.output[0].type.multiArrayType
    for low, high in ((1, 1), (4, 9)):
        ranged.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)


def _rename(name: str) -> Change:
    def change(spec: Any) -> None:
        operation(spec, 1).outputs[0].name = name
        operation(spec).inputs["bias"].arguments[0].name = name

    return change


def _set(path: str, content: Any) -> Change:
    """Set a field, e.g. ``description.input.0.shortDescription``."""

    def change(spec: Any) -> None:
        *parents, last = path.split(".")
        for part in parents:
            spec = spec[int(part)] if part.isdigit() else getattr(spec, part)
        setattr(spec, last, content)

    return change


_Y = 'operation 2, linear "y"'

UNVERIFIED: dict[str, tuple[Change, str]] = {
    "neural network": (lambda s: s.neuralNetwork.SetInParent(), "a model of type neuralNetwork, not an ML Program"),
    "no model": (lambda s: s.ClearField("mlProgram"), "a model of no known type"),
    "spec 5": (_set("specificationVersion", 5), "specification version 5 (known: 6 to 9)"),
    "spec 10": (_set("specificationVersion", 10), "specification version 10 (known: 6 to 9)"),
    "updatable": (_set("isUpdatable", True), "an updatable model"),
    "multifunction": (lambda s: s.description.functions.add(name="main"), "a multifunction description"),
    "default function": (_set("description.defaultFunctionName", "main"), "a multifunction description"),
    "state": (_state, 'the state "cache"'),
    "training": (lambda s: s.description.trainingInput.add(name="x"), "training inputs"),
    "classifier": (_set("description.predictedFeatureName", "label"), "a classifier"),
    "state input": (_state_input, 'the input "x", in the program stateType'),
    "text": (lambda s: s.description.input[0].type.stringType.SetInParent(), 'the input "x", of type string'),
    "number": (lambda s: s.description.input[0].type.doubleType.SetInParent(), 'the input "x", of type double'),
    "no type": (lambda s: s.description.output[0].type.Clear(), 'the output "y", of no type'),
    "optional": (_set("description.input.0.type.isOptional", True), 'the input "x", which is optional'),
    "default": (lambda s: setattr(array(s), "floatDefaultValue", 1.0), 'the input "x", which is optional'),
    "double": (lambda s: setattr(array(s), "dataType", array(s).DOUBLE), 'the input "x", an array of DOUBLE'),
    "enumerated": (lambda s: array(s).enumeratedShapes.shapes.add(), 'the input "x", of enumerated shapes'),
    "unbounded": (_range(1, -1), 'the input "x", of a shape without upper bound'),
    "range alone": (
        lambda s: array(s).shapeRange.sizeRanges.add(lowerBound=1, upperBound=2),
        'the input "x", of a shape range without a default shape',
    ),
    "range described only": (
        _range(1, 4),
        'the input "x", of flexible shape in the program or the description only',
    ),
    "range in the program only": (
        lambda s: function(s).inputs[0].type.CopyFrom(tensor_type("FLOAT16", [1, None])),
        'the input "x", of flexible shape in the program or the description only',
    ),
    "program version": (_set("mlProgram.version", 2), "a program of version 2"),
    "program documentation": (_set("mlProgram.docString", "x"), "the documentation string of the program"),
    "program attribute": (
        lambda s: s.mlProgram.attributes["flag"].CopyFrom(value("BOOL", True)),
        "program attributes: flag",
    ),
    "build info": (
        lambda s: s.mlProgram.attributes["buildInfo"].immediateValue.dictionary.values.add(key=value("INT32", 1)),
        "a buildInfo of other things than strings",
    ),
    "two functions": (
        lambda s: s.mlProgram.functions["other"].SetInParent(),
        "functions other than one main: main, other",
    ),
    "empty constant": (
        _constant(value("FLOAT16", [], [1 << 40, 0])),
        'operation 1, const "b": a constant of the shape [1099511627776, 0]',
    ),
    "rank": (
        _constant(value("FLOAT16", 1.0, [1] * 999)),
        f'operation 1, const "b": a constant of the shape {[1] * 999}',
    ),
    "open weight": (
        lambda s: operation(s, 0).attributes["val"].type.CopyFrom(tensor_type("FLOAT16", [3, None])),
        'operation 0, const "w": a weight that is no tensor of fixed shape',
    ),
    "function attribute": (
        lambda s: function(s).attributes["flag"].CopyFrom(value("BOOL", True)),
        "attributes of the function: flag",
    ),
    "specializations": (
        lambda s: function(s).block_specializations["CoreML6"].SetInParent(),
        "specializations of the function: CoreML6, CoreML7",
    ),
    "opset": (_opset("CoreML9"), "the opset CoreML9 (known: CoreML5, CoreML6, CoreML7, CoreML8)"),
    "block attribute": (
        lambda s: block(s).attributes["flag"].CopyFrom(value("BOOL", True)),
        "inputs or attributes of the function's block",
    ),
    "nested block": (lambda s: operation(s).blocks.add(), f"{_Y}: a nested block"),
    "no outputs": (
        lambda s: block(s).operations.add(type="write_state"),
        'operation 3, write_state "": an operation without outputs',
    ),
    "unknown operation": (
        lambda s: setattr(operation(s), "type", "custom_layer"),
        'operation 2, custom_layer "y": the operation custom_layer at ios17',
    ),
    "operation of a later opset": (
        lambda s: setattr(operation(s), "type", "slice_update"),
        'operation 2, slice_update "y": the operation slice_update at ios17',
    ),
    "name": (_rename("b.1"), "operation 1, const \"b.1\": the name 'b.1', not an identifier of MIL"),
    "keyword": (_rename("tensor"), "operation 1, const \"tensor\": the name 'tensor', a word of MIL itself"),
    "string": (
        lambda s: operation(s).attributes["name"].CopyFrom(value("STRING", 'a"b')),
        f"{_Y}: the string 'a\"b': how quotes, backslashes and control characters are escaped is not known",
    ),
    "element type": (
        lambda s: setattr(operation(s, 1).attributes["val"].type.tensorType, "dataType", 40),
        'operation 1, const "b": the element type FLOAT8E4M3FN',
    ),
    "weight file": (
        lambda s: setattr(operation(s, 0).attributes["val"].blobFileValue, "fileName", "@model_path/weights/1.bin"),
        'operation 0, const "w": the weight file "@model_path/weights/1.bin"',
    ),
}

BROKEN: dict[str, tuple[Change, str]] = {
    "opset": (_set("specificationVersion", 7), "the opset CoreML7 needs specification version 8 or later"),
    "input": (_set("description.input.0.name", "z"), "the program's inputs (x) are not those described (z)"),
    "output": (lambda s: s.description.output.pop(), "the program's outputs (y) are not those described (none)"),
    "undefined output": (
        lambda s: (setattr(operation(s).outputs[0], "name", "z"),),
        'the output "y" is not the output of any operation',
    ),
    "undefined input": (
        lambda s: setattr(operation(s).inputs["x"].arguments[0], "name", "z"),
        f'{_Y}: the input x is "z", which nothing before it defines',
    ),
    "type": (
        lambda s: setattr(array(s), "dataType", array(s).FLOAT32),
        'the input "x" is described as FLOAT32, in the program it is FLOAT16',
    ),
    "output type": (
        lambda s: setattr(s.description.output[0].type.multiArrayType, "dataType", array(s).INT32),
        'the output "y" is described as INT32, in the program it is FLOAT16',
    ),
    "shape": (
        lambda s: array(s).shape.append(1),
        'the input "x" is described as [1, 4, 1], in the program it is [1, 4]',
    ),
    "output shape": (
        lambda s: s.description.output[0].type.multiArrayType.shape.__setitem__(1, 4),
        'the output "y" is described as [1, 4], in the program it is [1, 3]',
    ),
    "output range": (_output_range, 'the output "y" is described as [1, 4..9], in the program it is [1, 3]'),
    "described twice": (lambda s: s.description.input.append(s.description.input[0]), "two inputs of one name: x"),
    "given twice": (lambda s: block(s).outputs.append("y"), "two outputs of one name: y, y"),
    "no inputs": (
        _no_inputs,
        "a model without inputs, which Core ML takes from specification version 9 on, not at 8",
    ),
    "no outputs": (_no_outputs, "a model without outputs, which Core ML does not take"),
    "defined twice": (
        lambda s: setattr(operation(s, 1).outputs[0], "name", "w"),
        'operation 1, const "w": "w" is defined before it',
    ),
    "weight type": (
        lambda s: setattr(operation(s, 0).attributes["val"].type.tensorType, "dataType", 11),
        'operation 0, const "w": the program says Float32, the weight file float16',
    ),
    "weight size": (
        lambda s: operation(s, 0).attributes["val"].type.CopyFrom(tensor_type("FLOAT16", [3, 5])),
        'operation 0, const "w": Float16 of the shape [3, 5] takes 30 bytes, the weight file has 24',
    ),
    "field": (
        lambda s: operation(s).attributes["name"].immediateValue.tensor.ints.values.append(1),
        f"{_Y}: a constant of type string is given as ints",
    ),
    "no argument": (lambda s: operation(s).inputs["x"].arguments.pop(), f"{_Y}: the input x is empty"),
    "elements": (
        lambda s: operation(s, 1).attributes["val"].immediateValue.tensor.ClearField("bytes"),
        'operation 1, const "b": a constant of shape [3] holds 0 elements',
    ),
}


def compile_changed(change: Change, folder: Path) -> tuple[str, Path]:
    """The message, without what says where the package is, of compiling a changed model; and the package."""
    model = linear("CoreML7")
    change(model.spec)
    package = model.package(folder / "a.mlpackage")
    before = set(folder.rglob("*"))
    with pytest.raises(CompileError) as caught:
        compile_package(package, folder / "a.mlmodelc")
    assert set(folder.rglob("*")) == before, "something was left behind"
    return str(caught.value), package


@pytest.mark.parametrize("case", UNVERIFIED)
def test_an_unverified_construct_is_refused_by_name(case: str, tmp_path: Path) -> None:
    change, message = UNVERIFIED[case]
    text, package = compile_changed(change, tmp_path)
    assert text == (
        f"{package}: {message}: not verified against Apple's compiler, so the portable one refuses it; "
        "on a Mac with Xcode: xcrun coremlcompiler compile PACKAGE FOLDER"
    )


@pytest.mark.parametrize("case", BROKEN)
def test_a_model_at_odds_with_itself_is_refused(case: str, tmp_path: Path) -> None:
    change, message = BROKEN[case]
    text, package = compile_changed(change, tmp_path)
    assert text == f"{package}: {message}"
