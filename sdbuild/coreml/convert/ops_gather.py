"""Lowerings that look rows up: embeddings, and the pick of each prompt's end token.

From iOS 17 indices must not be negative, and a float16 program prefers them of 16 bits. As coremltools does, what could be
negative is guarded, and what can be counted in 16 bits is cast to them.
"""

from typing import Any

import numpy as np

from sdbuild.coreml.convert.builder import BOOL, FLOAT16, INT16, INT32, UINT16, Value, Weight
from sdbuild.coreml.convert.lowering import Context, Operand, lowers
from sdbuild.opset import Opset


@lowers("aten.embedding.default")
def _embedding(context: Context, table: Operand, indices: Operand, *_: Any) -> Operand:
    rows = table.shape[0]
    if isinstance(table, Weight) and isinstance(indices, np.ndarray) and np.array_equal(indices, [range(rows)]):
        return Weight(table.name, (1, *table.shape))  # every row in order, as positions are looked up: the table itself
    return _gather(context, "gather", {"x": table, "indices": _guarded(context, indices, [rows]), "axis": 0})


@lowers("aten.index.Tensor")
def _index(context: Context, x: Value, indices: list[Operand]) -> Value:
    """One element, or row, by one index an axis, as CLIP picks the end-of-text token of each prompt."""
    if len({tuple(index.shape) for index in indices}) != 1:
        raise context.unsupported("indexing by tensors of several shapes")
    known = [index.astype(np.int32) if isinstance(index, np.ndarray) else index for index in indices]
    shape = (*context.shape[: len(context.shape) - len(x.shape) + len(indices)], len(indices))
    places = context.op("stack", {"values": known, "axis": len(shape) - 1}, shape, "places", INT32)
    if _is_guarded(context) and context.builder.float_type == FLOAT16:
        places = context.builder.cast(places, UINT16)  # an end token's place is never negative, and needs no guard
    else:
        places = _guarded(context, places, list(x.shape[: len(indices)]))
    return _gather(context, "gather_nd", {"x": x, "indices": places})


def _gather(context: Context, kind: str, arguments: dict[str, Any]) -> Value:
    if context.builder.opset >= Opset.IOS16:
        arguments["batch_dims"] = 0
    if _is_guarded(context):
        arguments["validate_indices"] = False
    return context.op(kind, arguments)


def _is_guarded(context: Context) -> bool:
    return context.builder.opset >= Opset.IOS17


def _guarded(context: Context, indices: Operand, sizes: list[int]) -> Operand:
    """Indices counted from the front, where the opset asks for it, as 16 bits if those hold every row.

    ``sizes`` are what negative ones count back from: of the one axis, or of each that the last axis of ``indices`` names.
    """
    if not _is_guarded(context) or isinstance(indices, np.ndarray):
        return indices
    narrow = context.builder.float_type == FLOAT16 and max(sizes) <= np.iinfo(np.int16).max
    if narrow:
        indices = context.builder.cast(context.builder.cast(indices, INT16), INT32)
    shape, size = indices.shape, np.array(sizes if len(sizes) > 1 else sizes[0], np.int32)
    positive = context.op("greater_equal", {"x": indices, "y": 0}, shape, "positive", BOOL)
    wrapped = context.op("add", {"x": indices, "y": size}, shape, "wrapped", INT32)
    indices = context.op("select", {"cond": positive, "a": indices, "b": wrapped}, shape, "guarded", INT32)
    return context.builder.cast(indices, INT16) if narrow else indices
