"""Reductions, sorting and cumulative sums."""

from collections.abc import Callable

import torch

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Lowering, Tensor, op

_Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCE: dict[str, _Reduce] = {
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "reduce_log_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "reduce_log_sum_exp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
    "reduce_max": lambda x, axes, keep: torch.amax(x, axes, keep),
    "reduce_mean": lambda x, axes, keep: torch.mean(x, axes, keep),
    "reduce_min": lambda x, axes, keep: torch.amin(x, axes, keep),
    "reduce_prod": _prod,
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}


def _reduction(function: _Reduce) -> Lowering:
    def lower(call: Call) -> Bound:
        axes = call.integers("axes", range(call.rank("x")))
        keep, dtype = call.truth("keep_dims", False), call.out_dtype()
        if dtype.is_floating_point:
            return call.bind(lambda x: function(x, axes, keep), "x")
        # torch sums integers in int64 and refuses their mean.
        wide = torch.float64 if function is _REDUCE["reduce_mean"] else torch.int64
        return call.bind(lambda x: function(x.to(wide), axes, keep).to(dtype), "x")

    return lower


for _name, _function in _REDUCE.items():
    op(_name)(_reduction(_function))


@op("reduce_argmax")
def _argmax(call: Call) -> Bound:
    axis, keep, dtype = call.integer("axis", -1), call.truth("keep_dims", False), call.out_dtype()
    return call.bind(lambda x: torch.argmax(x, axis, keep).to(dtype), "x")


@op("reduce_argmin")
def _argmin(call: Call) -> Bound:
    axis, keep, dtype = call.integer("axis", -1), call.truth("keep_dims", False), call.out_dtype()
    return call.bind(lambda x: torch.argmin(x, axis, keep).to(dtype), "x")


@op("argsort")
def _argsort(call: Call) -> Bound:
    axis, descending, dtype = call.integer("axis", -1), not call.truth("ascending", False), call.out_dtype()
    return call.bind(lambda x: torch.argsort(x, dim=axis, descending=descending, stable=True).to(dtype), "x")


@op("topk")
def _topk(call: Call) -> Bound:
    k, axis, largest = call.integer("k", 1), call.integer("axis", -1), not call.truth("ascending", False)
    outputs = call.operation.outputs
    if len(outputs) == 1:
        return call.bind(lambda x: torch.topk(x, k, axis, largest).values, "x", moves=True)
    dtype = call.dtype(outputs[1].type.dtype)

    def topk(x: Tensor) -> tuple[Tensor, Tensor]:
        # A stable sort, because topk itself leaves the order of equal values open.
        indices = torch.argsort(x, dim=axis, descending=largest, stable=True).narrow(axis, 0, k)
        return torch.gather(x, axis, indices), indices.to(dtype)

    return call.bind(topk, "x", moves=True)


@op("cumsum")
def _cumsum(call: Call) -> Bound:
    axis, dtype = call.integer("axis", 0), call.out_dtype()
    exclusive, reverse = call.truth("exclusive", False), call.truth("reverse", False)

    def cumsum(x: Tensor) -> Tensor:
        ordered = x.flip(axis) if reverse else x
        total = torch.cumsum(ordered, axis, dtype=dtype)
        if exclusive:
            first = torch.zeros_like(total.narrow(axis, 0, 1))
            total = torch.cat([first, total.narrow(axis, 0, x.shape[axis] - 1)], axis)
        return total.flip(axis) if reverse else total

    return call.bind(cumsum, "x")
