"""Pooling."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

from sdbuild.coreml.runtime.ops.conv import pad, padding
from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op

_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMUM = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _window(call: Call) -> tuple[int, list[int], list[int]]:
    dims = call.rank("x") - 2
    if dims not in _AVERAGE:
        raise call.unsupported(f"pooling of an input of rank {dims + 2}; 3 to 5 are supported")
    return dims, call.integers("kernel_sizes"), call.integers("strides", [1] * dims)


def _pool(call: Call, function: Callable[..., Tensor], fill: float) -> Bound:
    """Pool with torch's own padding where it can, else pad with ``fill`` first."""
    _, kernel, strides = _window(call)
    amounts, ceil = padding(call, kernel, strides), call.truth("ceil_mode", False)

    def pool(x: Tensor) -> Tensor:
        around = amounts(x)
        inner = [before for before, _ in around]
        if all(b == a and 2 * b <= k for (b, a), k in zip(around, kernel, strict=True)):
            return function(x, kernel, strides, inner, ceil_mode=ceil)
        if ceil:
            raise ValueError("ceil_mode with padding wider than half the kernel, or unequal, is not supported")
        return function(pad(x, around, fill), kernel, strides)

    return call.bind(pool, "x")


@op("max_pool")
def _max_pool(call: Call) -> Bound:
    return _pool(call, _MAXIMUM[_window(call)[0]], -torch.inf)


@op("avg_pool")
def _avg_pool(call: Call) -> Bound:
    dims, kernel, strides = _window(call)
    average = _AVERAGE[dims]
    if not call.truth("exclude_padding_from_average", False):
        return _pool(call, average, 0.0)
    amounts, ceil = padding(call, kernel, strides), call.truth("ceil_mode", False)

    def pool(x: Tensor) -> Tensor:
        around = amounts(x)
        if all(b == a and 2 * b <= k for (b, a), k in zip(around, kernel, strict=True)):
            inner = [before for before, _ in around]
            return average(x, kernel, strides, inner, ceil_mode=ceil, count_include_pad=False)
        if ceil:
            raise ValueError("ceil_mode with padding wider than half the kernel, or unequal, is not supported")
        inside = pad(torch.ones_like(x[:1, :1]), around)
        return average(pad(x, around), kernel, strides) / average(inside, kernel, strides)

    return call.bind(pool, "x")


@op("l2_pool")
def _l2_pool(call: Call) -> Bound:
    dims, kernel, _ = _window(call)
    area = 1
    for size in kernel:
        area *= size
    bound = _pool(call, _AVERAGE[dims], 0.0)
    return Bound(lambda x: torch.sqrt(bound.function(x.square()) * area), bound.operands)
