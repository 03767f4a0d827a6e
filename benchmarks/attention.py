"""Attention spelled out in torch, in every variant that sdbuild writes: for coremltools, which knows no operation of ours."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sdbuild.coreml.convert.ops_unet_attention import QUERY_CHUNK
from sdbuild.modeling.channels_first import _Attention

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(query [B, C, 1, Sq], key [B, C, 1, Sk], value [B, C, 1, Sk], heads) → [B, C, 1, Sq]."""


def spelled_out(module: nn.Module, variant: str) -> nn.Module:
    """The module with its attention in that form, in place."""
    for child in module.modules():
        if isinstance(child, _Attention):
            child.attend = VARIANTS[variant]
    return module


def original(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    batch, channels, _, length = query.shape
    size = channels // heads
    q, k, v = (tensor.view(batch, heads, size, tensor.shape[3]) for tensor in (query * size**-0.5, key, value))
    weights = torch.matmul(q.transpose(2, 3), k).softmax(dim=3)
    return torch.matmul(v, weights.transpose(2, 3)).view(batch, channels, 1, length)


def split_einsum(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    return _split(query, key, value, heads, query.shape[3])


def split_einsum_v2(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    return _split(query, key, value, heads, QUERY_CHUNK)


def _split(query: Tensor, key: Tensor, value: Tensor, heads: int, chunk: int) -> Tensor:
    size = query.shape[1] // heads
    queries = torch.split(query * size**-0.5, size, dim=1)
    keys = torch.split(key.transpose(1, 3), size, dim=3)
    values = torch.split(value, size, dim=1)
    attended = []
    for q, k, v in zip(queries, keys, values, strict=True):
        chunks = []
        for part in torch.split(q, chunk, dim=3) if q.shape[3] > chunk else (q,):
            weights = torch.einsum("bchq,bkhc->bkhq", part, k).softmax(dim=1)
            chunks.append(torch.einsum("bkhq,bchk->bchq", weights, v))
        attended.append(torch.cat(chunks, dim=3) if len(chunks) > 1 else chunks[0])
    return torch.cat(attended, dim=1) if len(attended) > 1 else attended[0]


VARIANTS: dict[str, Attend] = {"original": original, "split_einsum": split_einsum, "split_einsum_v2": split_einsum_v2}
