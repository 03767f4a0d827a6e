"""Lowering of a UNet's attention, one operation of our own in a traced graph (``sdbuild.modeling.attention``).

All is in the layout of the Neural Engine, [batch, channels, 1, sequence]. Three ways to compute the same thing, named as in
apple/ml-stable-diffusion:

- ``original``: all heads at once, for CPU and GPU;
- ``split_einsum``: head by head, so that each product stays in the Neural Engine's fast memory (Apple Machine Learning
  Research, "Deploying Transformers on the Apple Neural Engine", 2022);
- ``split_einsum_v2``: also in chunks of 512 queries, which bounds the largest intermediate.

The products, their layouts and their order are the reference's. Two things are less than there: queries are scaled instead of
scores, so that the factor becomes part of a convolution's weights and float16 holds the scores of any head; and one split
gives all heads, or all chunks of a head, where the reference slices them out one by one.
"""

from collections.abc import Callable

import numpy as np

from sdbuild.coreml.convert.builder import Value
from sdbuild.coreml.convert.lowering import Context, lowers

QUERY_CHUNK = 512


@lowers("sdbuild.attention.default")
def _attention(context: Context, query: Value, key: Value, value: Value, heads: int) -> Value:
    """A node with ``meta["scaled"]`` has queries that are divided by the root of a head's size already."""
    if not context.node.meta.get("scaled", False):
        factor = np.asarray((query.shape[1] // heads) ** -0.5, np.float32)
        query = context.op("mul", {"x": query, "y": factor}, query.shape, "scaled")
    return VARIANTS[context.attention](context, query, key, value, heads)


def _original(context: Context, query: Value, key: Value, value: Value, heads: int) -> Value:
    """All heads in two matrix products; their transpositions are the products' own."""
    q, k, v = (
        _headed(context, tensor, heads, part) for tensor, part in ((query, "queries"), (key, "keys"), (value, "values"))
    )
    shape = (*q.shape[:2], q.shape[3], k.shape[3])
    scores = context.op("matmul", {"x": q, "y": k, "transpose_x": True, "transpose_y": False}, shape, "scores")
    weights = context.op("softmax", {"x": scores, "axis": 3}, shape, "weights")
    attended = context.op(
        "matmul", {"x": v, "y": weights, "transpose_x": False, "transpose_y": True}, q.shape, "attended"
    )
    return context.op("reshape", {"x": attended, "shape": list(context.shape)})


def _headed(context: Context, x: Value, heads: int, part: str) -> Value:
    """[B, heads, C / heads, S]."""
    batch, channels, _, length = x.shape
    shape = (batch, heads, channels // heads, length)
    return x if x.shape == shape else context.op("reshape", {"x": x, "shape": list(shape)}, shape, part)


def _split_einsum(context: Context, query: Value, key: Value, value: Value, heads: int) -> Value:
    """Two einsums a head."""
    return _by_head(context, query, key, value, heads, query.shape[3])


def _split_einsum_v2(context: Context, query: Value, key: Value, value: Value, heads: int) -> Value:
    """Two einsums for each head and chunk of queries."""
    return _by_head(context, query, key, value, heads, QUERY_CHUNK)


def _by_head(context: Context, query: Value, key: Value, value: Value, heads: int, chunk: int) -> Value:
    batch, channels, _, length = query.shape
    size, known = channels // heads, key.shape[3]
    queries = context.split(query, [(batch, size, 1, length)] * heads, 1, "queries")
    turned = (batch, known, 1, channels)
    last = context.op("transpose", {"x": key, "perm": [0, 3, 2, 1]}, turned, "keys_last")
    keys = context.split(last, [(batch, known, 1, size)] * heads, 3, "keys")
    values = context.split(value, [(batch, size, 1, known)] * heads, 1, "values")
    widths = [min(chunk, length - start) for start in range(0, length, chunk)]
    attended = []
    for head, (q, k, v) in enumerate(zip(queries, keys, values, strict=True)):
        chunks = []
        for part in context.split(q, [(batch, size, 1, width) for width in widths], 3, f"chunks_{head}"):
            width = part.shape[3]
            scores = _einsum(context, k, part, "bkhc,bchq->bkhq", (batch, known, 1, width), f"scores_{head}")
            weights = context.op("softmax", {"x": scores, "axis": 1}, scores.shape, f"weights_{head}")
            chunks.append(_einsum(context, v, weights, "bchk,bkhq->bchq", part.shape, f"attended_{head}"))
        attended.append(_joined(context, chunks, 3, q.shape, f"head_{head}"))
    return _joined(context, attended, 1, context.shape)


def _einsum(context: Context, x: Value, y: Value, equation: str, shape: tuple[int, ...], part: str) -> Value:
    return context.op("einsum", {"values": [x, y], "equation": equation}, shape, part)


def _joined(context: Context, values: list[Value], axis: int, shape: tuple[int, ...], part: str = "") -> Value:
    if len(values) == 1:
        return values[0]
    return context.op("concat", {"values": values, "axis": axis, "interleave": False}, shape, part)


VARIANTS: dict[str, Callable[[Context, Value, Value, Value, int], Value]] = {
    "original": _original,
    "split_einsum": _split_einsum,
    "split_einsum_v2": _split_einsum_v2,
}
"""By the recipe's name."""
