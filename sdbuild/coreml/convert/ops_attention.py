"""Lowering of attention as the text encoders and VAEs compute it; for that of UNets see ``ops_unet_attention``."""

from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.convert.builder import Value
from sdbuild.coreml.convert.lowering import Context, Operand, lowers
from sdbuild.opset import Opset

_MASKED = np.float32(-3e4)
"""What a masked score gets added: exp() of it is 0 in every precision, and unlike -inf it cannot make a NaN of a row."""


@lowers("aten.scaled_dot_product_attention.default")
def _attention(
    context: Context,
    query: Value,
    key: Value,
    value: Value,
    mask: Operand | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """From iOS 18 an operation; before, or with a scale of its own, the products and the softmax that it stands for.

    A node with ``meta["heads_last"]`` has queries and keys as [batch, sequence, heads, size], before their transposition.
    """
    if enable_gqa:
        raise context.unsupported("attention with grouped queries")
    heads_last = context.node.meta.get("heads_last", False)
    sequence = 1 if heads_last else -2
    if is_causal:
        mask = np.tril(np.ones((query.shape[sequence], key.shape[sequence]), np.bool_))
    if mask is not None and not isinstance(mask, np.ndarray):
        raise context.unsupported("attention with a mask that depends on the input")
    if scale is None and context.builder.opset >= Opset.IOS18:
        if heads_last:
            query, key = (_heads_first(context, x, part, [0, 2, 1, 3]) for x, part in ((query, "query"), (key, "key")))
        arguments: dict[str, Any] = {"query": query, "key": key, "value": value}
        if mask is not None:
            arguments["attn_mask"] = mask if mask.dtype == np.bool_ else np.maximum(mask, _MASKED)
        return context.op("scaled_dot_product_attention", arguments)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    query = context.op("mul", {"x": query, "y": float(factor)}, query.shape, "scaled")
    if heads_last:  # coremltools, too, writes the last two axes of what a matrix product takes from the end
        query, key = (_heads_first(context, x, part, [0, 2, -3, -1]) for x, part in ((query, "query"), (key, "key")))
    shape = (*query.shape[:-1], key.shape[-2])
    scores = context.op("matmul", {"x": query, "y": key, "transpose_x": False, "transpose_y": True}, shape, "scores")
    if mask is not None:
        scores = context.op("add", {"x": scores, "y": _added(mask)}, shape, "masked")
    weights = context.op("softmax", {"x": scores, "axis": -1}, shape, "weights")
    return context.op("matmul", {"x": weights, "y": value, "transpose_x": False, "transpose_y": False})


def _heads_first(context: Context, x: Value, part: str, order: list[int]) -> Value:
    batch, length, heads, size = x.shape
    return context.op("transpose", {"x": x, "perm": order}, (batch, heads, length, size), f"{part}_heads", x.dtype)


def _added(mask: Array) -> Array:
    """What is added to the scores, float32 [queries, keys] where one mask serves all batches and heads."""
    while mask.ndim > 2 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.dtype == np.bool_:
        return (np.float32(1) - mask.astype(np.float32)) * _MASKED
    return np.maximum(mask, _MASKED)
