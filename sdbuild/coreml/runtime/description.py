"""What a model says of itself beside its program: the names of its inputs and outputs, and the shapes it allows."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from sdbuild.coreml.proto import Model_pb2
from sdbuild.coreml.runtime.errors import ModelError
from sdbuild.coreml.runtime.program import Function, TensorType
from sdbuild.standins import ENOUGH, stand_in

_DESCRIPTION_AT = 0x4B
"""Where ``coremldata.bin`` of a compiled ML Program holds the description: its length (u64), then the message."""


@dataclass(frozen=True)
class Shapes:
    """The shapes that an input may have: a list of them, or a range for each dimension (upper bound None: unlimited)."""

    choices: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()

    def allow(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape, of the right rank, may be given."""
        if self.choices:
            return tuple(shape) in self.choices
        return all(
            low <= size and (high is None or size <= high)
            for size, (low, high) in zip(shape, self.ranges or [(0, None)] * len(shape), strict=True)
        )

    def __str__(self) -> str:
        """For messages."""
        if self.choices:
            return "one of " + ", ".join(str(list(each)) for each in self.choices)
        return "within [" + ", ".join(f"{low}..{'' if high is None else high}" for low, high in self.ranges) + "]"


def read_compiled(path: Path) -> Any:
    """The ``ModelDescription`` of an ``.mlmodelc``.

    Raises:
        ModelError: its ``coremldata.bin`` is missing or damaged.
    """
    file = path / "coremldata.bin"
    description = Model_pb2.ModelDescription()
    try:
        data = file.read_bytes()
        if wrong := stand_in(data[:ENOUGH]):
            raise ModelError(f"its {file.name} {wrong}")
        (size,) = struct.unpack_from("<Q", data, _DESCRIPTION_AT)
        start = _DESCRIPTION_AT + 8
        if start + size > len(data):
            raise ValueError("cut short")
        description.ParseFromString(data[start : start + size])
    except (OSError, struct.error, ValueError, DecodeError) as error:
        raise ModelError(f"{file.name}: cannot be read as the description of a compiled model ({error})") from None
    return description


def default_function(description: Any) -> str:
    """The name of the function that a model runs unless asked for another."""
    return description.defaultFunctionName or "main"


def allowed_shapes(description: Any, function: Function) -> Mapping[str, Shapes]:
    """The shapes that each input of a function allows beyond what its type fixes.

    Raises:
        ModelError: the description lacks the function, or it and the program name different inputs or outputs.
    """
    if description.functions:
        found = [each for each in description.functions if each.name == function.name]
        if not found:
            raise ModelError(f"its description has no function {function.name!r}")
        description = found[0]
    for what, described, actual in (
        ("inputs", description.input, [value.name for value in function.inputs]),
        ("outputs", description.output, function.block.outputs),
    ):
        names = sorted(feature.name for feature in described)
        if names != sorted(actual):
            raise ModelError(f"its description names the {what} {names}, its program {sorted(actual)}")
    types = {value.name: value.type for value in function.inputs}
    shapes = {feature.name: _shapes(feature.type, types[feature.name]) for feature in description.input}
    for name, each in shapes.items():
        if each.ranges and len(each.ranges) != len(types[name].shape):
            raise ModelError(f"its description has the input {name} as {each}, its program as {types[name]}")
    return shapes


def _shapes(feature: Any, kind: TensorType) -> Shapes:
    if feature.WhichOneof("Type") == "imageType":
        return _sizes(feature.imageType, kind)
    array = feature.multiArrayType
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        return Shapes(choices=tuple(tuple(each.shape) for each in array.enumeratedShapes.shapes))
    if flexibility == "shapeRange":
        return Shapes(ranges=tuple(_range(each) for each in array.shapeRange.sizeRanges))
    return Shapes()


def _sizes(image: Any, kind: TensorType) -> Shapes:
    """Those of an image's height and width, which are the last two dimensions of the tensor that the program takes."""
    flexibility, lead = image.WhichOneof("SizeFlexibility"), kind.shape[:-2]
    if flexibility is None or len(kind.shape) < 2 or None in lead:
        return Shapes()
    fixed = tuple(size for size in lead if size is not None)
    if flexibility == "enumeratedSizes":
        return Shapes(choices=tuple((*fixed, each.height, each.width) for each in image.enumeratedSizes.sizes))
    sides = image.imageSizeRange.heightRange, image.imageSizeRange.widthRange
    return Shapes(ranges=(*((size, size) for size in fixed), *(_range(each) for each in sides)))


def _range(sizes: Any) -> tuple[int, int | None]:
    return sizes.lowerBound, None if sizes.upperBound < 0 else sizes.upperBound
