"""Which operations take a value, and along which of its axes their output channels lie."""

from dataclasses import dataclass
from typing import Any

from sdbuild.coreml.mil import shape_of


@dataclass(frozen=True)
class User:
    """An operation that takes a value: its ``type``, such as ``conv``, its ``name``, and the value's output channel axis.

    The axis is as coremltools has it (``select_input_output_channel_axis`` in optimize/_utils.py): 1 for ``conv_transpose``,
    one of the last two for ``matmul``, else 0.
    """

    type: str
    name: str
    axis: int


def users_of(block: Any) -> dict[str, tuple[User, ...]]:
    """By value name, the operations of a block that take it, in the program's order."""
    made = {output.name: operation for operation in block.operations for output in operation.outputs}
    found: dict[str, list[User]] = {}
    for operation in block.operations:
        for key in sorted(operation.inputs):
            for binding in operation.inputs[key].arguments:
                if binding.name in made:
                    axis = _output_channels(operation, key, made[binding.name], made)
                    found.setdefault(binding.name, []).append(User(operation.type, _name(operation), axis))
    return {name: tuple(users) for name, users in found.items()}


def _name(operation: Any) -> str:
    if "name" in operation.attributes:
        return str(operation.attributes["name"].immediateValue.tensor.strings.values[0])
    return str(operation.outputs[0].name)


def _output_channels(operation: Any, key: str, maker: Any, made: dict[str, Any]) -> int:
    if operation.type == "conv_transpose":
        return 1
    if operation.type != "matmul" or key not in ("x", "y"):
        return 0
    rank = len(shape_of(maker.outputs[0].type))
    transposed = False
    for binding in operation.inputs[f"transpose_{key}"].arguments if f"transpose_{key}" in operation.inputs else ():
        value = made[binding.name].attributes["val"] if binding.name else binding.value
        transposed = bool(value.immediateValue.tensor.bools.values[0])
    return max(0, rank - (1 if transposed == (key == "x") else 2))
