"""Matrix products and attention."""

import torch
import torch.nn.functional as F  # noqa: N812

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op


@op("linear")
def _linear(call: Call) -> Bound:
    return call.bind(F.linear, "x", "weight", "bias?")


@op("matmul")
def _matmul(call: Call) -> Bound:
    # A transposed vector is itself.
    left = call.truth("transpose_x", False) and call.rank("x") > 1
    right = call.truth("transpose_y", False) and call.rank("y") > 1
    if not left and not right:
        return call.bind(torch.matmul, "x", "y")
    if left and right:
        return call.bind(lambda x, y: torch.matmul(x.mT, y.mT), "x", "y")
    if left:
        return call.bind(lambda x, y: torch.matmul(x.mT, y), "x", "y")
    return call.bind(lambda x, y: torch.matmul(x, y.mT), "x", "y")


@op("einsum")
def _einsum(call: Call) -> Bound:
    equation = "".join(call.text("equation").split())
    return call.bind(lambda x, y: torch.einsum(equation, x, y), "values")


@op("scaled_dot_product_attention")
def _attention(call: Call) -> Bound:
    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, mask)

    return call.bind(attend, "query", "key", "value", "attn_mask?")


@op("fused_attention")
def _fused_attention(call: Call) -> Bound:
    """Attention whose operands may be transposed, as ``fuse`` found it spelled out."""
    scale, turned = call.number("scale"), call.truth("turned")
    turns = [call.truth(f"{name}_turned") for name in ("query", "key", "value")]

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (_rows(x.mT if turn else x) for x, turn in zip((query, key, value), turns, strict=True))
        out = F.scaled_dot_product_attention(q, k, v, mask, scale=scale)
        return out.mT if turned else out

    return call.bind(attend, "query", "key", "value", "mask?")


@op("fused_split_attention")
def _fused_split_attention(call: Call) -> Bound:
    """Attention of query [n, d, h, query], key [n, key, h, d], value [n, d, h, key]."""
    scale = call.number("scale")

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (_rows(x) for x in (query.permute(0, 2, 3, 1), key.permute(0, 2, 1, 3), value.permute(0, 2, 3, 1)))
        return F.scaled_dot_product_attention(q, k, v, scale=scale).permute(0, 3, 1, 2)

    return call.bind(attend, "query", "key", "value")


@op("fused_heads")
def _fused_heads(call: Call) -> Bound:
    """Attention of all heads: query [n, heads * d, 1, query], key [n, key, 1, heads * d], value [n, heads * d, 1, key].

    The result is laid out with channels last, as the layers of a transformer follow each other without a copy.
    """
    scale, heads = call.number("scale"), call.integer("heads")

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, v = (x.reshape(x.shape[0], heads, -1, x.shape[3]).mT for x in (query, value))
        k = key.reshape(*key.shape[:2], heads, -1).transpose(1, 2)
        out = F.scaled_dot_product_attention(_rows(q), _rows(k), _rows(v), scale=scale)
        return out.transpose(1, 2).flatten(2).mT.unsqueeze(2)

    return call.bind(attend, "query", "key", "value")


def _rows(x: Tensor) -> Tensor:
    """``x`` with its rows in one piece each: torch's fast kernels want that."""
    return x if x.stride(-1) == 1 else x.contiguous()
