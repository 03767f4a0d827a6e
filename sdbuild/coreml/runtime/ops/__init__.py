"""The operations, by family; importing this package fills the table."""

from sdbuild.coreml.runtime.ops import (
    activation,
    conv,
    elementwise,
    gather,
    linear,
    lists,
    norm,
    pool,
    recurrent,
    reduction,
    resize,
    shape,
    tensor,
)
from sdbuild.coreml.runtime.ops.registry import OPS, Bound, Call, Operand, Slot

__all__ = [
    "OPS",
    "Bound",
    "Call",
    "Operand",
    "Slot",
    "activation",
    "conv",
    "elementwise",
    "gather",
    "linear",
    "lists",
    "norm",
    "pool",
    "recurrent",
    "reduction",
    "resize",
    "shape",
    "tensor",
]
