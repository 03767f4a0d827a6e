"""What a model says of itself beside its program: the names of its inputs and outputs, and the shapes it allows."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from sdbuild.coreml.proto import Model_pb2
from sdbuild.coreml.runtime.errors import ModelError
from sdbuild.coreml.runtime.program import Function

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
        (size,) = struct.unpack_from("<Q", data, _DESCRIPTION_AT)
        start = _DESCRIPTION_AT + 8
        if start + size > len(data):
            raise ValueError("cut short")
        description.ParseFromString(data[start : start + size])
    except (OSError, struct.error, ValueError, DecodeError) as error:
        raise ModelError(f"{file}: cannot be read as the description of a compiled model ({error})") from None
    return description


def allowed_shapes(description: Any, function: Function) -> Mapping[str, Shapes]:
    """The shapes that each input allows beyond what its type fixes.

    Raises:
        ModelError: the description and the program name different inputs or outputs.
    """
    for what, described, actual in (
        ("inputs", description.input, [value.name for value in function.inputs]),
        ("outputs", description.output, function.block.outputs),
    ):
        names = sorted(feature.name for feature in described)
        if names != sorted(actual):
            raise ModelError(f"its description names the {what} {names}, its program {sorted(actual)}")
    return {feature.name: _shapes(feature.type.multiArrayType) for feature in description.input}


def _shapes(array: Any) -> Shapes:
    kind = array.WhichOneof("ShapeFlexibility")
    if kind == "enumeratedShapes":
        return Shapes(choices=tuple(tuple(each.shape) for each in array.enumeratedShapes.shapes))
    if kind == "shapeRange":
        ranges = array.shapeRange.sizeRanges
        return Shapes(
            ranges=tuple((each.lowerBound, None if each.upperBound < 0 else each.upperBound) for each in ranges)
        )
    return Shapes()
