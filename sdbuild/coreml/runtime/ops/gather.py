"""Gathering and scattering."""

import torch

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op


def _indices(indices: Tensor, size: int) -> Tensor:
    """Indices as torch wants them: int64, negative ones counted from the end.

    Raises:
        IndexError: one is out of range, which Core ML leaves undefined.
    """
    indices = indices.long()
    if indices.numel():
        low, high = (int(each) for each in torch.aminmax(indices))
        if low < -size or high >= size:
            raise IndexError(f"an index of {low if low < -size else high} into a dimension of {size}")
        if low < 0:
            indices = torch.where(indices < 0, indices + size, indices)
    return indices


@op("gather")
def _gather(call: Call) -> Bound:
    axis, batch = call.integer("axis", 0), call.integer("batch_dims", 0)
    axis %= max(1, call.rank("x"))

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        index = _indices(indices, int(x.shape[axis]))
        if not batch:
            taken = x.index_select(axis, index.reshape(-1))
            return taken.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])  # none for a scalar of a vector
        lead = x.shape[:batch]
        flat = x.reshape(-1, *x.shape[batch:])
        rows = index.reshape(flat.shape[0], -1)
        spread = [1] * flat.ndim
        spread[0], spread[axis - batch + 1] = rows.shape
        shape = list(flat.shape)
        shape[axis - batch + 1] = rows.shape[1]
        taken = flat.gather(axis - batch + 1, rows.reshape(spread).expand(shape))
        return taken.reshape([*lead, *x.shape[batch:axis], *index.shape[batch:], *x.shape[axis + 1 :]])

    return call.bind(gather, "x", "indices", moves=True)


@op("gather_along_axis")
def _gather_along_axis(call: Call) -> Bound:
    axis = call.integer("axis", 0)
    return call.bind(
        lambda x, indices: torch.gather(x, axis, _indices(indices, x.shape[axis])), "x", "indices", moves=True
    )


@op("gather_nd")
def _gather_nd(call: Call) -> Bound:
    batch = call.integer("batch_dims", 0)

    def gather_nd(x: Tensor, indices: Tensor) -> Tensor:
        depth = indices.shape[-1]
        index = [_indices(indices[..., i], int(x.shape[batch + i])) for i in range(depth)]
        rest = index[0].ndim if index else indices.ndim - 1
        lead = [
            torch.arange(x.shape[i], device=x.device).reshape([-1 if j == i else 1 for j in range(rest)])
            for i in range(batch)
        ]
        return x[tuple(lead + index)]

    return call.bind(gather_nd, "x", "indices", moves=True)


_MODES = ("update", "add", "sub", "mul", "div", "max", "min")
_REDUCTIONS = {"add": "sum", "sub": "sum", "mul": "prod", "div": "prod", "max": "amax", "min": "amin"}


def _scatter_into(data: Tensor, axis: int, index: Tensor, updates: Tensor, mode: str) -> Tensor:
    """``data`` with ``updates`` combined into it; ``index`` and ``updates`` have one shape."""
    if mode == "update":
        return data.scatter(axis, index, updates)
    if mode == "sub":
        updates = -updates
    elif mode == "div":
        updates = updates.reciprocal()
    return data.scatter_reduce(axis, index, updates, _REDUCTIONS[mode])


@op("scatter_along_axis")
def _scatter_along_axis(call: Call) -> Bound:
    axis, mode = call.integer("axis", 0), call.text("mode", "add", choices=_MODES)

    def scatter(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        return _scatter_into(data, axis, _indices(indices, int(data.shape[axis])), updates, mode)

    return call.bind(scatter, "data", "indices", "updates")


@op("scatter")
def _scatter(call: Call) -> Bound:
    axis, mode = call.integer("axis", 0), call.text("mode", "add", choices=_MODES)

    def scatter(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        place = axis % data.ndim
        index = _indices(indices, int(data.shape[place]))
        shape = [1] * data.ndim
        shape[place] = index.numel()
        updates = updates.reshape(*data.shape[:place], -1, *data.shape[place + 1 :])
        return _scatter_into(data, place, index.reshape(shape).expand(updates.shape), updates, mode)

    return call.bind(scatter, "data", "indices", "updates")


@op("scatter_nd")
def _scatter_nd(call: Call) -> Bound:
    mode = call.text("mode", "add", choices=_MODES)

    def scatter(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        depth = indices.shape[-1]
        lead, rest = data.shape[:depth], data.shape[depth:]
        row = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=data.device)
        for i in range(depth):
            row = row * lead[i] + _indices(indices[..., i], int(lead[i]))
        flat = data.reshape(-1, *rest)
        row = row.reshape(-1, *[1] * len(rest)).expand(-1, *rest)
        return _scatter_into(flat, 0, row, updates.reshape(row.shape), mode).reshape(data.shape)

    return call.bind(scatter, "data", "indices", "updates")
