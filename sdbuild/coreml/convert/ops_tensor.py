"""Lowerings that move or choose elements: reshape, transpose, slice, concat."""

from typing import Any

from sdbuild.coreml.convert.builder import Value
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
    dtype = context.node.value.dtype
    return context.builder.cast(x, mil_type(dtype, context.builder.float_type))


@lowers("aten.view.default", "aten.reshape.default", "aten.flatten.using_ints", "aten.unflatten.int")
def _reshape(context: Context, x: Value, *sizes: Any) -> Value:
    if x.shape == context.shape:
        return x
    is_given = context.node.op in ("aten.view.default", "aten.reshape.default")
    shape = list(sizes[0] if is_given else context.shape)  # a -1 stays one
    return context.op("reshape", {"x": x, "shape": shape}, dtype=x.dtype)


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
    if [axis % len(order) for axis in order] == list(range(len(order))):
        return x
    return context.op("transpose", {"x": x, "perm": order}, dtype=x.dtype)


@lowers("aten.permute.default")
def _permute(context: Context, x: Value, order: list[int]) -> Value:
    return _transposed(context, x, list(order))


@lowers("aten.transpose.int")
def _transpose(context: Context, x: Value, first: int, second: int) -> Value:
    order = list(range(len(x.shape)))
    order[first], order[second] = second, first
    return _transposed(context, x, order)


@lowers("aten.t.default")
def _t(context: Context, x: Value) -> Value:
    return _transposed(context, x, list(reversed(range(len(x.shape)))))


@lowers("aten.unsqueeze.default")
def _unsqueeze(context: Context, x: Value, axis: int) -> Value:
    return context.op("expand_dims", {"x": x, "axes": [axis]}, dtype=x.dtype)


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
    return context.split(x, [part.shape for part in context.node.value], axis)


@lowers("aten.cat.default", "aten.concat.default")
def _cat(context: Context, values: list[Operand], axis: int = 0) -> Value:
    joined = [context.tensor(value) for value in values]
    arguments = {"values": joined, "axis": axis, "interleave": False}
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
