"""Convolutions, and the padding that they and pooling share."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
PAD_TYPES = ("valid", "custom", "same", "same_lower")

_LARGE = 128 << 20
_STRIP = 32 << 20
"""Bytes: images from the first on are convolved in strips of about the second."""

Padding = list[tuple[int, int]]
"""Elements before and after each spatial dimension."""


def padding(call: Call, kernel: Sequence[int], strides: Sequence[int]) -> Callable[[Tensor], Padding]:
    """How much an input is padded: a function of it, because "same" depends on its size.

    ``kernel`` is the extent of the kernel, dilation included.
    """
    kind = call.text("pad_type", "valid", choices=PAD_TYPES)
    if kind in ("valid", "custom"):
        flat = call.integers("pad", [0] * 2 * len(kernel)) if kind == "custom" else [0] * 2 * len(kernel)
        fixed = list(zip(flat[::2], flat[1::2], strict=True))
        return lambda _: fixed

    def same(x: Tensor) -> Padding:
        result = []
        for size, extent, stride in zip(x.shape[2:], kernel, strides, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + extent - size)
            less, more = total // 2, total - total // 2
            result.append((more, less) if kind == "same_lower" else (less, more))
        return result

    return same


def pad(x: Tensor, amounts: Padding, value: float = 0.0) -> Tensor:
    """``x`` with its last dimensions padded."""
    return F.pad(x, [n for pair in reversed(amounts) for n in pair], value=value)


@op("conv")
def _conv(call: Call) -> Bound:
    dims = call.rank("x") - 2
    if dims not in _CONV:
        raise call.unsupported(f"convolution of an input of rank {dims + 2}; 3 to 5 are supported")
    strides, dilations = call.integers("strides", [1] * dims), call.integers("dilations", [1] * dims)
    groups = call.integer("groups", 1)
    kernel = [int(size or 0) for size in call.type("weight").shape[2:]]
    if dims == 2 and kernel == [1, 1] and strides == [1, 1] and groups == 1 and not any(call.integers("pad", [])):
        return _pointwise(call)
    amounts = padding(call, [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)], strides)
    function = _CONV[dims]

    in_strips = dims == 2 and strides == [1, 1]

    def conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        around = amounts(x)
        if in_strips and x.nbytes >= _LARGE and x.device.type == "cpu":
            return _strips(x, weight, bias, around, dilations, groups)
        if all(before == after for before, after in around):
            return function(x, weight, bias, strides, [before for before, _ in around], dilations, groups)
        return function(pad(x, around), weight, bias, strides, 0, dilations, groups)

    return call.bind(conv, "x", "weight", "bias?")


def _strips(
    x: Tensor, weight: Tensor, bias: Tensor | None, around: Padding, dilations: Sequence[int], groups: int
) -> Tensor:
    """A convolution of stride 1, some rows at a time: on a CPU torch copies what it convolves and what comes of it.

    The last layers of a decoder take and give half a gigabyte and more each, and twice that with the copies.
    """
    (top, bottom), sides = around
    height = int(x.shape[2])
    below = (int(weight.shape[2]) - 1) * dilations[0]  # rows that the last row of a strip needs beyond its own
    rows = height + top + bottom - below
    if rows < 1:
        return F.conv2d(pad(x, around), weight, bias, dilation=dilations, groups=groups)  # says that it is too small
    width = int(x.shape[3]) + sum(sides) - (int(weight.shape[3]) - 1) * dilations[1]
    out = x.new_empty((int(x.shape[0]), int(weight.shape[0]), rows, width))
    step = max(1, _STRIP * height // x.nbytes)
    for start in range(0, rows, step):
        end = min(start + step, rows)
        first, last = start - top, end - top + below
        strip = x[:, :, max(0, first) : max(0, min(height, last))]
        before = min(max(0, -first), last - first)  # all of it, where the strip lies above the image
        strip = pad(strip, [(before, last - first - before - int(strip.shape[2])), sides])
        out[:, :, start:end] = F.conv2d(strip, weight, bias, dilation=dilations, groups=groups)
    return out


def _pointwise(call: Call) -> Bound:
    """A 1×1 convolution as a matrix product, which spares the copies that torch's convolution makes for some layouts.

    Programs keep sequences as [batch, channels, 1, length]: their result is laid out with channels last, in which the
    layers of a transformer follow each other without a copy. An image [batch, channels, height, width] comes out as is.
    """
    sequence = call.type("x").shape[2] == 1

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)

    def image(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.is_contiguous():
            return F.conv2d(x, weight, bias)
        flat, matrix = x.flatten(2), weight.flatten(1).expand(x.shape[0], -1, -1)
        out = torch.bmm(matrix, flat) if bias is None else torch.baddbmm(bias[:, None], matrix, flat)
        return out.view(*out.shape[:2], *x.shape[2:])

    return call.bind(linear if sequence else image, "x", "weight", "bias?")


@op("conv_transpose")
def _conv_transpose(call: Call) -> Bound:
    dims = call.rank("x") - 2
    if dims not in _CONV_TRANSPOSE:
        raise call.unsupported(f"convolution of an input of rank {dims + 2}; 3 to 5 are supported")
    strides, dilations = call.integers("strides", [1] * dims), call.integers("dilations", [1] * dims)
    groups = call.integer("groups", 1)
    kind = call.text("pad_type", "valid", choices=("valid", "custom", "same"))
    flat = call.integers("pad", [0] * 2 * dims) if kind == "custom" else [0] * 2 * dims
    wanted = call.integers("output_shape")[2:] if call.has("output_shape") else None
    kernel = [int(size or 0) for size in call.type("weight").shape[2:]]
    function = _CONV_TRANSPOSE[dims]

    def conv_transpose(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        before, extra, sizes = [], [], []
        for i in range(dims):
            size = int(x.shape[2 + i])
            full = (size - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
            target = full - flat[2 * i] - flat[2 * i + 1]
            if kind == "same":
                target = size * strides[i]
            if wanted is not None:
                target = wanted[i]
            cut = flat[2 * i] if kind == "custom" else max(0, full - target) // 2
            before.append(cut)
            sizes.append(target)
            extra.append(max(0, target - (full - 2 * cut)))
        out = function(x, weight, bias, strides, before, extra, groups, dilations)
        for i, target in enumerate(sizes):
            out = out.narrow(2 + i, 0, target)
        return out

    return call.bind(conv_transpose, "x", "weight", "bias?")
