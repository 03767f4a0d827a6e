"""Attention in the layout of the Neural Engine: [batch, channels, 1, sequence].

Three ways to compute the same thing, named as in apple/ml-stable-diffusion:

- ``original``: all heads at once, for CPU and GPU;
- ``split_einsum``: head by head, so that each product stays in the Neural Engine's fast memory (Apple Machine Learning
  Research, "Deploying Transformers on the Apple Neural Engine", 2022);
- ``split_einsum_v2``: also in chunks of 512 queries, which bounds the largest intermediate.

The products, their layouts and their order are the reference's. Two things are less than there: queries are scaled instead of
scores, so that the factor becomes part of a convolution's weights and float16 holds the scores of any head; and one split
gives all heads, or all chunks of a head, where the reference slices them out one by one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(query [B, C, 1, Sq], key [B, C, 1, Sk], value [B, C, 1, Sk], heads) → [B, C, 1, Sq]."""

QUERY_CHUNK = 512


def original(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """All heads in two batched matrix products."""
    batch, channels, _, length = query.shape
    size = channels // heads
    q, k, v = (tensor.view(batch, heads, size, tensor.shape[3]) for tensor in (query * size**-0.5, key, value))
    weights = torch.matmul(q.transpose(2, 3), k).softmax(dim=3)
    return torch.matmul(v, weights.transpose(2, 3)).view(batch, channels, 1, length)


def split_einsum(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Two einsums a head."""
    return _split(query, key, value, heads, query.shape[3])


def split_einsum_v2(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Two einsums for each head and chunk of queries."""
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
"""By the recipe's name."""
