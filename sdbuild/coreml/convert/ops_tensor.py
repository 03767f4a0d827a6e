"""Lowerings that move or choose elements: reshape, transpose, slice, concat, gather."""

from typing import Any

import numpy as np

from sdbuild.coreml.convert.builder import INT32, Array, Value
from sdbuild.coreml.convert.lowering import Context, Operand, lowers, mil_type


@lowers(
    "aten.alias.default",
    "aten.contiguous.default",
    "aten.clone.default",
    "aten.detach_.default",
    "aten.dropout.default",
    "aten.lift_fresh_copy.default",
    "aten.to.device",
)
def _same(context: Context, x: Operand, *_: Any, **__: Any) -> Operand:
    return x


@lowers("aten.to.dtype")
def _to(context: Context, x: Value, *_: Any, **__: Any) -> Value:
    dtype = context.node.meta["val"].dtype
    return context.builder.cast(x, mil_type(dtype, context.builder.float_type))


@lowers("aten.view.default", "aten.reshape.default", "aten.flatten.using_ints", "aten.unflatten.int")
def _reshape(context: Context, x: Value, *_: Any) -> Value:
    if x.shape == context.shape:
        return x
    return context.op("reshape", {"x": x, "shape": list(context.shape)}, dtype=x.dtype)


@lowers("aten.expand.default")
def _expand(context: Context, x: Value, *_: Any) -> Value:
    if x.shape == context.shape:
        return x
    missing = len(context.shape) - len(x.shape)
    if missing:
        shape = (1,) * missing + x.shape
        x = context.op("reshape", {"x": x, "shape": list(shape)}, shape, "rank", x.dtype)
    reps = [new // old for new, old in zip(context.shape, x.shape, strict=True)]
    return context.op("tile", {"x": x, "reps": reps}, dtype=x.dtype)


def _transposed(context: Context, x: Value, order: list[int]) -> Value:
    order = [axis % len(order) for axis in order]
    if order == sorted(order):
        return x
    return context.op("transpose", {"x": x, "perm": order}, dtype=x.dtype)


@lowers("aten.permute.default")
def _permute(context: Context, x: Value, order: list[int]) -> Value:
    return _transposed(context, x, list(order))


@lowers("aten.transpose.int")
def _transpose(context: Context, x: Value, first: int, second: int) -> Value:
    order = list(range(len(x.shape)))
    order[first], order[second] = order[second], order[first]
    return _transposed(context, x, order)


@lowers("aten.t.default")
def _t(context: Context, x: Value) -> Value:
    return _transposed(context, x, list(reversed(range(len(x.shape)))))


@lowers("aten.unsqueeze.default")
def _unsqueeze(context: Context, x: Value, axis: int) -> Value:
    return context.op("expand_dims", {"x": x, "axes": [axis % len(context.shape)]}, dtype=x.dtype)


@lowers("aten.squeeze.dim", "aten.squeeze.dims")
def _squeeze(context: Context, x: Value, axes: int | list[int]) -> Value:
    wanted = [axes] if isinstance(axes, int) else axes
    found = [axis % len(x.shape) for axis in wanted if x.shape[axis] == 1]
    return context.op("squeeze", {"x": x, "axes": found}, dtype=x.dtype) if found else x


@lowers("aten.slice.Tensor")
def _slice(
    context: Context, x: Value, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    if x.shape == context.shape:
        return x
    rank, size, axis = len(x.shape), x.shape[axis], axis % len(x.shape)
    first, last, _ = slice(start, end, step).indices(size)
    begins, ends, strides = [0] * rank, list(x.shape), [1] * rank
    begins[axis], ends[axis], strides[axis] = first, last, step
    whole = [other != axis or last == size for other in range(rank)]
    arguments: dict[str, Any] = {"x": x, "begin": begins, "end": ends, "end_mask": whole}
    if step != 1:
        arguments["stride"] = strides
    return context.op("slice_by_index", arguments, dtype=x.dtype)


@lowers("aten.select.int")
def _select(context: Context, x: Value, axis: int, index: int) -> Value:
    rank, axis = len(x.shape), axis % len(x.shape)
    index %= x.shape[axis]
    begins, ends, squeezed = [0] * rank, list(x.shape), [other == axis for other in range(rank)]
    begins[axis], ends[axis] = index, index + 1
    whole = [other != axis for other in range(rank)]
    return context.op(
        "slice_by_index",
        {"x": x, "begin": begins, "end": ends, "end_mask": whole, "squeeze_mask": squeezed},
        dtype=x.dtype,
    )


@lowers("aten.chunk.default", "aten.split.Tensor", "aten.split_with_sizes.default")
def _split(context: Context, x: Value, _: Any, axis: int = 0) -> list[Value]:
    parts = [tuple(part.shape) for part in context.node.meta["val"]]
    if len(parts) == 1:
        return [x]
    value = context.tensor(x)
    sizes = [part[axis] for part in parts]
    arguments = {"x": value, "split_sizes": sizes, "axis": axis % len(x.shape)}
    return context.builder.multi_op("split", context.name, arguments, parts, value.dtype)


@lowers("aten.cat.default", "aten.concat.default")
def _cat(context: Context, values: list[Operand], axis: int = 0) -> Value:
    joined = [context.tensor(value) for value in values]
    arguments = {"values": joined, "axis": axis % len(context.shape), "interleave": False}
    dtype = next(value.dtype for value in joined if isinstance(value, Value))
    return context.op("concat", arguments, dtype=dtype)


@lowers("aten.pad.default")
def _pad(context: Context, x: Value, pads: list[int], mode: str = "constant", value: float | None = None) -> Value:
    before_after = [0] * (2 * len(x.shape))
    for number in range(len(pads) // 2):  # torch counts from the last axis, MIL from the first
        axis = len(x.shape) - 1 - number
        before_after[2 * axis : 2 * axis + 2] = pads[2 * number : 2 * number + 2]
    names = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}
    arguments = {"x": x, "pad": before_after, "mode": names[mode], "constant_val": float(value or 0.0)}
    return context.op("pad", arguments)


@lowers("aten.embedding.default")
def _embedding(context: Context, table: Operand, indices: Operand, *_: Any) -> Value:
    return context.op("gather", _gather(context, table, indices))


@lowers("aten.index.Tensor")
def _index(context: Context, x: Value, indices: list[Operand]) -> Value:
    """Rows picked by one index tensor an axis, as CLIP picks the end-of-text token of each prompt.

    The indexed axes, the leading ones, are flattened to one, so that a plain gather serves.
    """
    count, sizes = len(indices), x.shape
    leading = int(np.prod(sizes[:count]))
    flat: Operand = np.zeros((), np.int32)
    for position, index in enumerate(indices):
        stride = int(np.prod(sizes[position + 1 : count]))
        flat = _plus(context, flat, index, stride, f"index{position}")
    shape = (leading, *sizes[count:])
    rows = x if count == 1 else context.op("reshape", {"x": x, "shape": list(shape)}, shape, "rows", x.dtype)
    return context.op("gather", _gather(context, rows, flat))


def _plus(context: Context, total: Operand, index: Operand, stride: int, part: str) -> Operand:
    """``total + index * stride``, computed now where both are known."""
    if isinstance(index, np.ndarray):
        scaled: Array = index * stride
        if isinstance(total, np.ndarray):
            return (total + scaled).astype(np.int32)
        return total if not scaled.any() else context.op("add", {"x": total, "y": scaled}, total.shape, part, INT32)
    if stride != 1:
        index = context.op("mul", {"x": index, "y": stride}, index.shape, f"{part}_scaled", INT32)
    if isinstance(total, np.ndarray) and not total.any():
        return index
    return context.op("add", {"x": index, "y": total}, index.shape, part, INT32)


def _gather(context: Context, x: Operand, indices: Operand) -> dict[str, Any]:
    arguments = {"x": x, "indices": indices, "axis": 0}
    if context.builder.opset not in ("CoreML5", "CoreML6"):
        arguments |= {"batch_dims": 0, "validate_indices": False}
    return arguments
