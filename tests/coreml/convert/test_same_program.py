"""The comparison of programs sees everything but names and order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbuild.coreml.package import Package, read_package
from tests.architectures import UNET
from tests.coreml.convert.same_program import differences
from tests.coreml.convert.test_convert import convert_component


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return convert_component(tmp_path_factory.mktemp("program"), "unet", UNET)[0]


def changed(package: Package, change: Callable[[Any], object]) -> Package:
    """The package with a change to its operations, in memory."""
    copy = read_package(package.path)
    (function,) = copy.spec.mlProgram.functions.values()
    change(function.block_specializations[function.opset].operations)
    return copy


def first(operations: Any, kind: str) -> Any:
    return next(operation for operation in operations if operation.type == kind)


def rename(operations: Any) -> None:
    """Every value that is neither taken nor given."""
    made = {output.name for op in operations for output in op.outputs} - {"noise_pred"}
    for op in operations:
        for argument in [part for item in op.inputs.values() for part in item.arguments] + list(op.outputs):
            if argument.name in made:
                argument.name += "_renamed"


def constants_first(operations: Any) -> None:
    everything = sorted(operations, key=lambda op: op.type != "const")
    del operations[:]
    operations.extend(everything)


def test_names_and_order_are_free(original: Package) -> None:
    assert differences(original, changed(original, rename)) == ""
    assert differences(original, changed(original, constants_first)) == ""


def number(operations: Any) -> None:
    first(operations, "conv").inputs["groups"].arguments[0].name = (
        first(operations, "concat").inputs["axis"].arguments[0].name
    )


def weight(operations: Any) -> None:
    one, other = [op for op in operations if op.type == "const" and op.attributes["val"].HasField("blobFileValue")][-2:]
    one.attributes["val"].blobFileValue.offset = other.attributes["val"].blobFileValue.offset


def operand_order(operations: Any) -> None:
    first(operations, "concat").inputs["values"].arguments.reverse()


def swapped(operations: Any) -> None:
    operation = next(op for op in operations if op.type == "sub")
    x, y = operation.inputs["x"].arguments[0].name, operation.inputs["y"].arguments[0].name
    operation.inputs["x"].arguments[0].name, operation.inputs["y"].arguments[0].name = y, x


def kind(operations: Any) -> None:
    first(operations, "silu").type = "sigmoid"


def dtype(operations: Any) -> None:
    first(operations, "silu").outputs[0].type.tensorType.dataType = 11


def shape(operations: Any) -> None:
    first(operations, "silu").outputs[0].type.tensorType.dimensions[0].constant.size += 1


def argument_dropped(operations: Any) -> None:
    del first(operations, "conv").inputs["bias"]


def unused(operations: Any) -> None:
    twin = operations.add()
    twin.CopyFrom(first(operations, "silu"))
    twin.outputs[0].name = "unused"


@pytest.mark.parametrize(
    "change", [number, weight, operand_order, swapped, kind, dtype, shape, argument_dropped, unused]
)
def test_all_else_is_seen(change: Callable[[Any], None], original: Package) -> None:
    assert differences(original, changed(original, change)) != ""


def test_a_changed_number_in_the_weight_file_is_seen(original: Package, tmp_path: Path) -> None:
    other = convert_component(tmp_path, "unet", UNET)[0]
    assert differences(original, other) == ""
    data = bytearray(other.weights.read_bytes())
    data[-1] ^= 1
    other.weights.write_bytes(data)
    assert differences(original, read_package(other.path)) != ""


def test_the_interface_is_seen(original: Package) -> None:
    other = read_package(original.path)
    other.spec.description.input[0].type.multiArrayType.shape[0] = 3
    assert "input sample" in differences(original, other)


def test_the_first_difference_is_shown(original: Package) -> None:
    text = differences(original, changed(original, kind))
    assert text.splitlines()[0].startswith("- sigmoid(")
