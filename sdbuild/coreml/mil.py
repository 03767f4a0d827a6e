"""The parts of MIL's protobuf that everything that writes programs has in common."""

from collections.abc import Sequence
from typing import Any

from sdbuild.coreml.proto import MIL_pb2

INLINE_LIMIT = 10
"""Float constants of fewer elements are written into the program, others into the weight file (as coremltools does)."""


def set_type(kind: Any, dtype: int, shape: Sequence[int]) -> None:
    """Make ``kind``, an empty ``ValueType``, a tensor of that data type and static shape."""
    kind.tensorType.dataType = dtype
    kind.tensorType.rank = len(shape)
    for size in shape:
        kind.tensorType.dimensions.add().constant.size = size


def set_string(value: Any, text: str) -> None:
    """Make ``value``, an empty ``Value``, a string."""
    value.type.tensorType.dataType = MIL_pb2.STRING
    value.immediateValue.tensor.strings.values.append(text)


def shape_of(kind: Any) -> tuple[int, ...]:
    """The static shape of a tensor type."""
    return tuple(dimension.constant.size for dimension in kind.tensorType.dimensions)
