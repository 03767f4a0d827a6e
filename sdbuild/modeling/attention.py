"""Attention in the layout of the Neural Engine, [batch, channels, 1, sequence], as one operation of our own.

How it is computed, all heads at once or head by head, is of no concern here: a traced graph has one node for it, whatever
becomes of it in a package (see ``sdbuild.coreml.convert.ops_attention``).
"""

import torch
from torch import Tensor


@torch.library.custom_op("sdbuild::attention", mutates_args=())
def attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(query · key / √size) · value for each head of ``size`` channels.

    query [B, C, 1, Sq], key and value [B, C, 1, Sk] → [B, C, 1, Sq]; a head's channels are neighbours.
    """
    batch, channels, _, length = query.shape
    size = channels // heads
    q, k, v = (tensor.reshape(batch, heads, size, tensor.shape[3]) for tensor in (query * size**-0.5, key, value))
    weights = torch.matmul(q.transpose(2, 3), k).softmax(dim=3)
    return torch.matmul(v, weights.transpose(2, 3)).reshape(batch, channels, 1, length)


@attention.register_fake
def _attention_without_numbers(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    return torch.empty_like(query)
