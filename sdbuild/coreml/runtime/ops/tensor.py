"""Operations that make tensors: shapes, ranges, fills, masks, one-hot vectors."""

import torch

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op


@op("shape")
def _shape(call: Call) -> Bound:
    dtype = call.out_dtype()
    return call.bind(lambda x: torch.tensor(x.shape, dtype=dtype, device=x.device), "x", moves=True)


@op("fill")
def _fill(call: Call) -> Bound:
    value, dtype, device = call.number("value", 0.0), call.out_dtype(), call.storage.device
    return call.bind(lambda shape: torch.full(shape.tolist(), value, dtype=dtype, device=device), "shape", moves=True)


@op("fill_like")
def _fill_like(call: Call) -> Bound:
    value, dtype = call.number("value", 0.0), call.out_dtype()
    return call.bind(lambda x: torch.full(x.shape, value, dtype=dtype, device=x.device), "ref_tensor", moves=True)


@op("range_1d")
def _range_1d(call: Call) -> Bound:
    dtype, device = call.out_dtype(), call.storage.device
    return call.bind(
        lambda start, end, step: torch.arange(start.item(), end.item(), step.item(), dtype=dtype, device=device),
        *("start", "end", "step"),
    )


@op("band_part")
def _band_part(call: Call) -> Bound:
    lower, upper = call.integer("lower", -1), call.integer("upper", -1)

    def band_part(x: Tensor) -> Tensor:
        kept = torch.ones(x.shape[-2:], dtype=torch.bool, device=x.device)
        if lower >= 0:
            kept = kept.triu(-lower)
        if upper >= 0:
            kept = kept.tril(upper)
        return torch.where(kept, x, torch.zeros_like(x))

    return call.bind(band_part, "x", moves=True)


@op("one_hot")
def _one_hot(call: Call) -> Bound:
    axis, dtype, size = call.integer("axis", -1), call.out_dtype(), call.integer("one_hot_vector_size")
    on, off = call.number("on_value", 1.0), call.number("off_value", 0.0)

    def one_hot(indices: Tensor) -> Tensor:
        place = axis % (indices.ndim + 1)
        shape = [1] * (indices.ndim + 1)
        shape[place] = size
        hot = indices.unsqueeze(place) == torch.arange(size, device=indices.device).reshape(shape)
        return torch.where(hot, on, off).to(dtype)

    return call.bind(one_hot, "indices", moves=True)


@op("non_zero")
def _non_zero(call: Call) -> Bound:
    dtype = call.out_dtype()
    return call.bind(lambda x: torch.nonzero(x).to(dtype), "x", moves=True)
