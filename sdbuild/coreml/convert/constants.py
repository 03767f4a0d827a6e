"""Compute with NumPy what a graph says of numbers that are known: masks, positions, frequencies; and, once weights are read,
what depends on weights alone.

Results are torch's, bit by bit, on any machine, with one exception: ``exp``, ``sin``, ``cos`` and products of matrices are the
float32 numbers nearest to the true values, where torch's differ with the machine and its libraries in the last bit now and
then. In a float16 program nothing of that remains. Operations are named one by one, for a graph is a file, and there are ATen
operations that read and write others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.graphs.graph import Node, TensorType

Evaluate = Callable[..., Any]

_FOLD_LIMIT = 1 << 22
"""Elements of the largest constant that is computed ahead; a mask of 77×77 tokens is far below."""
_ELSEWHERE = frozenset({"dtype", "device", "layout", "memory_format", "pin_memory", "non_blocking", "copy", "implicit"})
"""Keywords that say how torch would keep a result; its type is the node's."""
_LANES = 8
"""In which torch sums up squares for a norm, whatever the processor."""


def is_computed(node: Node) -> bool:
    """Whether a node is computed ahead where all that it takes is known."""
    value = node.value
    known = node.op in _CONSTANT and isinstance(value, TensorType) and value.dtype != "bfloat16"
    return known and value.size <= _FOLD_LIMIT


def is_computed_of_weights(node: Node) -> bool:
    """Whether a node is computed when weights are read, where it takes nothing else: such are a safety checker's concepts,
    brought to length one, and what a UNet makes of its guidance; all of them are small.
    """
    if node.op == "aten.linalg_vector_norm.default":
        order, axes = node.args[1:3]
        return order == 2 and axes in ([1], [-1]) and len(node.shape) == 2
    return node.op in _OF_WEIGHTS


def evaluate(node: Node, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Array:
    """The constant that a node is, in its own data type and shape.

    Args:
        node: one that `is_computed`.
        arguments: arrays, numbers, words and lists of them.
        keywords: likewise; devices and layouts are of no concern here.
    """
    dtype = np.dtype(node.value.dtype)
    with np.errstate(all="ignore"):
        result = np.asarray(_CONSTANT[node.op](dtype, node.shape, *arguments, **_meant(keywords)))
    return np.ascontiguousarray(result, dtype).reshape(node.shape)


def evaluate_weights(node: Node, arguments: Sequence[Any]) -> Array:
    """The array that a node is, of float32 weights.

    Args:
        node: one that `is_computed_of_weights`.
        arguments: arrays, numbers and lists of them.
    """
    with np.errstate(all="ignore"):  # infinities and NaNs are found where weights are written
        result: Array = _OF_WEIGHTS[node.op](np.dtype(np.float32), node.shape, *arguments)
    return result


def _meant(keywords: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keywords.items() if key not in _ELSEWHERE}


def _arithmetic(function: Callable[[Any, Any], Any]) -> Evaluate:
    """Of two operands, both in the result's type, as torch has them; ``alpha`` multiplies the second."""

    def compute(dtype: np.dtype[Any], shape: Any, x: Any, y: Any, alpha: Any = 1) -> Any:
        return function(np.asarray(x, dtype), np.asarray(y, dtype) * dtype.type(alpha))

    return compute


def _comparison(function: Callable[[Any, Any], Any]) -> Evaluate:
    def compute(dtype: np.dtype[Any], shape: Any, x: Any, y: Any) -> Any:
        floats = [a.dtype for a in (x, y) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
        if floats or isinstance(x, float) or isinstance(y, float):
            common = np.result_type(*floats) if floats else np.dtype(np.float32)
            x, y = np.asarray(x, common), np.asarray(y, common)
        return function(x, y)

    return compute


def _unary(function: Callable[[Any], Any]) -> Evaluate:
    return lambda dtype, shape, x: function(np.asarray(x, dtype))


def _rounded(function: Callable[[Any], Any]) -> Evaluate:
    """Computed in float64 and rounded once."""
    return lambda dtype, shape, x: function(np.asarray(x, np.float64)).astype(dtype)


def _same(dtype: np.dtype[Any], shape: Any, x: Any, *_: Any, **__: Any) -> Any:
    """The same numbers, where the node's own type or shape says the rest."""
    return x


def _arange(dtype: np.dtype[Any], shape: tuple[int, ...], *bounds: Any) -> Any:
    start, step = (bounds[0], 1) if len(bounds) > 1 else (0, 1)
    step = bounds[2] if len(bounds) > 2 else step
    return (np.asarray(start) + np.arange(shape[0]) * np.asarray(step)).astype(dtype)


def _filled(dtype: np.dtype[Any], shape: Any, value: Any) -> Any:
    return np.full(shape, value, dtype)


def _transpose(dtype: np.dtype[Any], shape: Any, x: Any, first: int, second: int) -> Any:
    return np.swapaxes(x, first, second)


def _slice(
    dtype: np.dtype[Any],
    shape: Any,
    x: Any,
    axis: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Any:
    return x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]


def _where(dtype: np.dtype[Any], shape: Any, condition: Any, x: Any, y: Any) -> Any:
    return np.where(condition, np.asarray(x, dtype), np.asarray(y, dtype))


def _norm(dtype: np.dtype[Any], shape: Any, x: Array, order: float, axes: list[int], keep: bool = False) -> Any:
    """The Euclidean length along the last axis, summed up in torch's order."""
    whole = x.shape[-1] // _LANES * _LANES
    lanes = np.zeros((*x.shape[:-1], _LANES), np.float32)
    for start in range(0, whole, _LANES):
        part = x[..., start : start + _LANES]
        lanes = lanes + part * part
    total = lanes[..., 0]
    for lane in range(1, _LANES):
        total = total + lanes[..., lane]
    for rest in range(whole, x.shape[-1]):
        total = total + x[..., rest] * x[..., rest]
    return np.sqrt(total).reshape(shape)


def _linear(dtype: np.dtype[Any], shape: Any, x: Array, weight: Array) -> Any:
    """In float64, so that the order of the sums does not show."""
    return (x.astype(np.float64) @ weight.astype(np.float64).T).astype(dtype)


_CONSTANT: dict[str, Evaluate] = {
    **dict.fromkeys(("aten.arange.default", "aten.arange.start", "aten.arange.start_step"), _arange),
    "aten.add.Tensor": _arithmetic(np.add),
    "aten.sub.Tensor": _arithmetic(np.subtract),
    "aten.rsub.Scalar": _arithmetic(lambda x, y: y - x),
    "aten.mul.Tensor": _arithmetic(np.multiply),
    "aten.div.Tensor": _arithmetic(np.true_divide),
    "aten.maximum.default": _arithmetic(np.maximum),
    "aten.minimum.default": _arithmetic(np.minimum),
    "aten.neg.default": _unary(np.negative),
    "aten.abs.default": _unary(np.abs),
    "aten.sqrt.default": _unary(np.sqrt),
    "aten.exp.default": _rounded(np.exp),
    "aten.sin.default": _rounded(np.sin),
    "aten.cos.default": _rounded(np.cos),
    **{
        f"aten.{name}.{kind}": _comparison(function)
        for name, function in {
            "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
            "ge": np.greater_equal,
        }.items()
        for kind in ("Tensor", "Scalar")
    },
    **dict.fromkeys(("aten.logical_and.default", "aten.bitwise_and.Tensor", "aten.__and__.Tensor"), lambda d, s, x, y: x & y),
    **dict.fromkeys(("aten.logical_or.default", "aten.bitwise_or.Tensor", "aten.__or__.Tensor"), lambda d, s, x, y: x | y),
    **dict.fromkeys(("aten.logical_not.default", "aten.bitwise_not.default"), lambda d, s, x: ~x),
    **dict.fromkeys(
        (
            "aten.to.dtype", "aten.to.device", "aten._to_copy.default", "aten.clone.default", "aten.alias.default",
            "aten.detach.default", "aten.contiguous.default", "aten.lift_fresh_copy.default", "aten.unsqueeze.default",
            "aten.squeeze.dim", "aten.squeeze.dims", "aten.view.default", "aten.reshape.default", "aten.flatten.using_ints",
            "aten.unflatten.int", "aten.dropout.default",
        ),
        _same,
    ),
    "aten.expand.default": lambda d, shape, x, *_: np.broadcast_to(x, shape),
    "aten.permute.default": lambda d, s, x, order: np.transpose(x, order),
    "aten.transpose.int": _transpose,
    "aten.t.default": lambda d, s, x: np.transpose(x),
    "aten.slice.Tensor": _slice,
    "aten.select.int": lambda d, s, x, axis, index: np.take(x, index, axis),
    "aten.cat.default": lambda d, s, parts, axis=0: np.concatenate(parts, axis),
    "aten.stack.default": lambda d, s, parts, axis=0: np.stack(parts, axis),
    "aten.tril.default": lambda d, s, x, diagonal=0: np.tril(x, diagonal),
    "aten.triu.default": lambda d, s, x, diagonal=0: np.triu(x, diagonal),
    "aten.where.self": _where,
    "aten.masked_fill.Scalar": lambda d, s, x, mask, value: np.where(mask, d.type(value), x),
    "aten.full.default": lambda d, shape, _, value: _filled(d, shape, value),
    "aten.full_like.default": lambda d, shape, _, value: _filled(d, shape, value),
    "aten.scalar_tensor.default": _filled,
    **dict.fromkeys(("aten.zeros.default", "aten.zeros_like.default"), lambda d, shape, _: _filled(d, shape, 0)),
    **dict.fromkeys(("aten.ones.default", "aten.ones_like.default"), lambda d, shape, _: _filled(d, shape, 1)),
    "aten.embedding.default": lambda d, s, table, indices, *_: np.take(table, indices, 0),
    "aten.eye.default": lambda d, shape, *_: np.eye(*shape),
}  # fmt: skip
"""By ATen overload; each takes the result's data type and shape before the operation's own arguments."""
_OF_WEIGHTS: dict[str, Evaluate] = {
    "aten.div.Tensor": _CONSTANT["aten.div.Tensor"],
    "aten.expand.default": _CONSTANT["aten.expand.default"],
    "aten.neg.default": _CONSTANT["aten.neg.default"],
    "aten.linalg_vector_norm.default": _norm,
    "aten.linear.default": _linear,
}
