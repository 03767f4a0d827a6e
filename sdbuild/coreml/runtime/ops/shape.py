"""Operations that move values about: reshaping, transposing, slicing, joining."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op


@op("reshape")
def _reshape(call: Call) -> Bound:
    """0 takes the input's dimension: counted from the right since iOS 17, from the left before (same rank there)."""
    if call.static("shape") is not None:
        shape = call.integers("shape")
        if 0 not in shape:
            return call.bind(lambda x: x.reshape(shape), "x", moves=True)
        return call.bind(lambda x: x.reshape(_fill_zeros(x, shape)), "x", moves=True)
    return call.bind(lambda x, shape: x.reshape(_fill_zeros(x, shape.tolist())), "x", "shape", moves=True)


def _fill_zeros(x: Tensor, shape: Sequence[int]) -> list[int]:
    offset = x.ndim - len(shape)
    return [size or (int(x.shape[i + offset]) if i + offset >= 0 else 1) for i, size in enumerate(shape)]


@op("reshape_like")
def _reshape_like(call: Call) -> Bound:
    values = [
        [int(np.asarray(each.load()).item()) if not hasattr(each, "index") else 0 for each in call.arguments[name]]
        for name in ("begins", "ends", "end_masks")
    ]
    begins, ends, masks = values

    def reshape_like(x: Tensor, *references: Tensor) -> Tensor:
        shape: list[int] = []
        for reference, begin, end, mask in zip(references, begins, ends, masks, strict=True):
            shape += reference.shape[begin:] if mask else reference.shape[begin:end]
        return x.reshape(shape)

    return call.bind(reshape_like, "x", "ref_tensors", moves=True)


@op("transpose")
def _transpose(call: Call) -> Bound:
    perm = call.integers("perm")
    return call.bind(lambda x: x.permute(perm), "x", moves=True)


@op("expand_dims")
def _expand_dims(call: Call) -> Bound:
    axes = call.integers("axes")
    rank = call.rank("x") + len(axes)
    places = sorted(axis % rank for axis in axes)

    def expand_dims(x: Tensor) -> Tensor:
        for place in places:
            x = x.unsqueeze(place)
        return x

    return call.bind(expand_dims, "x", moves=True)


@op("squeeze")
def _squeeze(call: Call) -> Bound:
    """Dimensions other than one are left alone, as torch does."""
    if not call.has("axes"):
        return call.bind(torch.squeeze, "x", moves=True)
    axes = tuple(call.integers("axes"))
    return call.bind(lambda x: torch.squeeze(x, axes), "x", moves=True)


@op("flatten2d")
def _flatten2d(call: Call) -> Bound:
    axis = call.integer("axis", 1)
    return call.bind(lambda x: x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), "x", moves=True)


@op("concat")
def _concat(call: Call) -> Bound:
    axis = call.integer("axis")
    if not call.arguments["values"][0].type.shape:  # scalars make a vector
        return call.bind(lambda *values: torch.stack(values), "values", moves=True)
    if not call.truth("interleave", False):
        return call.bind(lambda *values: torch.cat(values, axis), "values", moves=True)

    def interleave(*values: Tensor) -> Tensor:
        place = axis % values[0].ndim
        return torch.stack(values, place + 1).flatten(place, place + 1)

    return call.bind(interleave, "values", moves=True)


@op("stack")
def _stack(call: Call) -> Bound:
    axis = call.integer("axis")
    return call.bind(lambda *values: torch.stack(values, axis), "values", moves=True)


@op("split")
def _split(call: Call) -> Bound:
    axis = call.integer("axis")
    if call.has("split_sizes"):
        sizes = call.integers("split_sizes")
        return call.bind(lambda x: torch.split_with_sizes(x, sizes, axis), "x", moves=True)
    parts = call.integer("num_splits")

    def split(x: Tensor) -> tuple[Tensor, ...]:
        if x.shape[axis] % parts:
            raise ValueError(f"{parts} parts of a dimension of {x.shape[axis]}")
        return x.chunk(parts, axis)

    return call.bind(split, "x", moves=True)


@op("tile")
def _tile(call: Call) -> Bound:
    def tile(x: Tensor, reps: Sequence[int]) -> Tensor:
        if any(
            count < 1 for count in reps
        ):  # as coremltools says; older ones write it for expand(-1) of a dynamic size
            raise ValueError(f"{list(reps)} repetitions; each must be 1 or more")
        return x.repeat(*reps)

    if call.static("reps") is None:
        return call.bind(lambda x, reps: tile(x, reps.tolist()), "x", "reps", moves=True)
    reps = call.integers("reps")
    return call.bind(lambda x: tile(x, reps), "x", moves=True)


@op("reverse")
def _reverse(call: Call) -> Bound:
    axes = call.integers("axes", range(call.rank("x")))
    return call.bind(lambda x: x.flip(axes), "x", moves=True)


@op("reverse_sequence")
def _reverse_sequence(call: Call) -> Bound:
    sequence, batch = call.integer("seq_axis", 0), call.integer("batch_axis", 0)

    def reverse_sequence(x: Tensor, lengths: Tensor) -> Tensor:
        parts = []
        for part, length in zip(x.unbind(batch), lengths.tolist(), strict=True):
            axis = sequence % x.ndim - (sequence % x.ndim > batch % x.ndim)
            head, tail = torch.split_with_sizes(part, [length, part.shape[axis] - length], axis)
            parts.append(torch.cat([head.flip(axis), tail], axis))
        return torch.stack(parts, batch)

    return call.bind(reverse_sequence, "x", "lengths", moves=True)


class _Slice:
    """A slice in NumPy's manner: begins, ends and strides by dimension, with the masks of ``slice_by_index``."""

    def __init__(self, call: Call) -> None:
        self.rank = call.rank("x")
        self.stride = call.integers("stride", [1] * self.rank)
        self.begin_mask = call.integers("begin_mask", [0] * self.rank)
        self.end_mask = call.integers("end_mask", [0] * self.rank)
        self.squeeze_mask = call.integers("squeeze_mask", [0] * self.rank)

    def cut(self, x: Tensor, begin: Sequence[int], end: Sequence[int]) -> Tensor:
        """The slice: a view where every stride is positive."""
        squeezed = []
        for axis in range(self.rank):
            size = int(x.shape[axis])
            if self.squeeze_mask[axis]:
                start = 0 if self.begin_mask[axis] else begin[axis]
                x = x.narrow(axis, start % size if -size <= start < size else start, 1)
                squeezed.append(axis)
                continue
            part = slice(
                None if self.begin_mask[axis] else begin[axis],
                None if self.end_mask[axis] else end[axis],
                self.stride[axis],
            )
            start, stop, step = part.indices(size)
            if (start, stop, step) == (0, size, 1):
                continue
            if step > 0:
                x = x[(slice(None),) * axis + (slice(start, max(start, stop), step),)]
            else:
                x = x.index_select(axis, torch.arange(start, stop, step, device=x.device))
        return x.squeeze(tuple(squeezed)) if squeezed else x


@op("slice_by_index")
def _slice_by_index(call: Call) -> Bound:
    part = _Slice(call)
    if call.static("begin") is not None and call.static("end") is not None:
        begin, end = call.integers("begin"), call.integers("end")
        return call.bind(lambda x: part.cut(x, begin, end), "x", moves=True)
    return call.bind(
        lambda x, begin, end: part.cut(x, begin.tolist(), end.tolist()), *("x", "begin", "end"), moves=True
    )


@op("slice_update")
def _slice_update(call: Call) -> Bound:
    part = _Slice(call)
    if any(step < 0 for step in part.stride):
        raise call.unsupported("a negative stride")

    def update(x: Tensor, new: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        out = x.clone(memory_format=torch.contiguous_format)
        part.cut(out, begin.tolist(), end.tolist()).copy_(new)
        return out

    return call.bind(update, "x", "update", "begin", "end", moves=True)


@op("slice_by_size")
def _slice_by_size(call: Call) -> Bound:
    def cut(x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
        for axis, (start, count) in enumerate(zip(begin.tolist(), size.tolist(), strict=True)):
            first = start % x.shape[axis] if start < 0 else start
            x = x.narrow(axis, first, x.shape[axis] - first if count == -1 else count)
        return x

    return call.bind(cut, "x", "begin", "size", moves=True)


@op("pad")
def _pad(call: Call) -> Bound:
    mode = call.text("mode", "constant", choices=("constant", "reflect", "replicate"))
    value = call.number("constant_val", 0.0)

    def pad(x: Tensor, amounts: list[int]) -> Tensor:
        if mode == "constant":
            flat = [n for i in reversed(range(0, len(amounts), 2)) for n in amounts[i : i + 2]]
            return F.pad(x, flat, value=value if x.is_floating_point() else int(value))
        # torch reflects and replicates the last dimensions of some ranks only: any by picking indices.
        first = x.ndim - len(amounts) // 2
        for i in range(0, len(amounts), 2):
            before, after, axis = amounts[i], amounts[i + 1], first + i // 2
            if before or after:
                size = int(x.shape[axis])
                index = torch.arange(-before, size + after, device=x.device)
                if mode == "replicate":
                    index = index.clamp(0, size - 1)
                elif max(before, after) >= size:
                    raise ValueError(f"a reflection of {max(before, after)} elements in a dimension of {size}")
                else:
                    index = (size - 1) - ((size - 1) - index.abs()).abs()
                x = x.index_select(axis, index)
        return x

    if call.static("pad") is None:
        return call.bind(lambda x, amounts: pad(x, amounts.tolist()), "x", "pad", moves=True)
    amounts = call.integers("pad")
    return call.bind(lambda x: pad(x, amounts), "x", moves=True)


@op("depth_to_space")
def _depth_to_space(call: Call) -> Bound:
    block = call.integer("block_size")

    def depth_to_space(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, block, block, c // block**2, h, w)
        return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)

    return call.bind(depth_to_space, "x", moves=True)


@op("space_to_depth")
def _space_to_depth(call: Call) -> Bound:
    block = call.integer("block_size")

    def space_to_depth(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // block, block, w // block, block)
        return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)

    return call.bind(space_to_depth, "x", moves=True)


@op("pixel_shuffle")
def _pixel_shuffle(call: Call) -> Bound:
    factor = call.integer("upscale_factor")
    return call.bind(lambda x: F.pixel_shuffle(x, factor), "x", moves=True)


@op("pixel_unshuffle")
def _pixel_unshuffle(call: Call) -> Bound:
    factor = call.integer("downscale_factor")
    return call.bind(lambda x: F.pixel_unshuffle(x, factor), "x", moves=True)


@op("space_to_batch")
def _space_to_batch(call: Call) -> Bound:
    (bh, bw), (top, bottom, left, right) = call.integers("block_shape"), call.integers("paddings")

    def space_to_batch(x: Tensor) -> Tensor:
        x = F.pad(x, (left, right, top, bottom))
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // bh, bh, w // bw, bw)
        return parts.permute(3, 5, 0, 1, 2, 4).reshape(n * bh * bw, c, h // bh, w // bw)

    return call.bind(space_to_batch, "x", moves=True)


@op("batch_to_space")
def _batch_to_space(call: Call) -> Bound:
    (bh, bw), (top, bottom, left, right) = call.integers("block_shape"), call.integers("crops")

    def batch_to_space(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(bh, bw, n // (bh * bw), c, h, w)
        out = parts.permute(2, 3, 4, 0, 5, 1).reshape(n // (bh * bw), c, h * bh, w * bw)
        return out[:, :, top : h * bh - bottom, left : w * bw - right]

    return call.bind(batch_to_space, "x", moves=True)


@op("sliding_windows")
def _sliding_windows(call: Call) -> Bound:
    axis, size, stride = call.integer("axis"), call.integer("size"), call.integer("stride", 1)

    def sliding_windows(x: Tensor) -> Tensor:
        place = axis % x.ndim
        return x.unfold(place, size, stride).movedim(-1, place + 1)

    return call.bind(sliding_windows, "x", moves=True)
