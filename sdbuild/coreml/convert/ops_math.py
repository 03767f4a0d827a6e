"""Lowerings of arithmetic, comparison and reduction."""

from typing import Any

import numpy as np

from sdbuild.coreml.convert.builder import BOOL, INT32, Folded, Value, Weight
from sdbuild.coreml.convert.lowering import Context, Operand, lowers
from sdbuild.opset import Opset

_BINARY = {
    "aten.add.Tensor": "add",
    "aten.sub.Tensor": "sub",
    "aten.mul.Tensor": "mul",
    "aten.div.Tensor": "real_div",
    "aten.maximum.default": "maximum",
    "aten.minimum.default": "minimum",
}
_NEUTRAL = {"add": 0.0, "sub": 0.0, "mul": 1.0, "real_div": 1.0}
_UNARY = {
    "aten.sin.default": "sin",
    "aten.cos.default": "cos",
    "aten.exp.default": "exp",
    "aten.sqrt.default": "sqrt",
    "aten.tanh.default": "tanh",
    "aten.sigmoid.default": "sigmoid",
    "aten.relu.default": "relu",
    "aten.silu.default": "silu",
    "aten.abs.default": "abs",
}
_COMPARE = {
    "aten.eq.Tensor": "equal",
    "aten.eq.Scalar": "equal",
    "aten.ge.Scalar": "greater_equal",
    "aten.gt.Scalar": "greater",
    "aten.le.Tensor": "less_equal",
    "aten.le.Scalar": "less_equal",
    "aten.lt.Scalar": "less",
}


@lowers(*_BINARY)
def _binary(context: Context, x: Operand, y: Operand, alpha: float = 1) -> Operand:
    kind = _BINARY[context.node.op]
    if np.isscalar(y) and y == _NEUTRAL.get(kind):
        return x
    dtype = None if context.is_float else INT32
    if alpha != 1:
        y = context.op("mul", {"x": _operand(context, y), "y": _operand(context, alpha)}, y.shape, "alpha", dtype)
    return context.op(kind, {"x": _operand(context, x), "y": _operand(context, y)}, dtype=dtype)


def _operand(context: Context, operand: Operand) -> Any:
    """MIL wants both sides of one type: Python numbers and constants take the result's."""
    if isinstance(operand, (Value, Weight, Folded)):
        return operand
    return np.asarray(operand, np.float32 if context.is_float else np.int32)


@lowers(*_UNARY)
def _unary(context: Context, x: Value) -> Value:
    return context.op(_UNARY[context.node.op], {"x": x})


@lowers(*_COMPARE)
def _compare(context: Context, x: Value, y: Operand) -> Value:
    if not isinstance(y, Value):
        y = np.asarray(y, np.int32 if x.dtype == INT32 else np.float32)
    return context.op(_COMPARE[context.node.op], {"x": x, "y": y}, dtype=BOOL)


@lowers("aten.pow.Tensor_Scalar")
def _pow(context: Context, x: Value, exponent: float) -> Value:
    if exponent == 2:
        return context.op("square", {"x": x})
    return context.op("pow", {"x": x, "y": float(exponent)})


@lowers("aten.mean.dim")
def _mean(context: Context, x: Value, axes: list[int], keep: bool = False) -> Value:
    return context.op("reduce_mean", {"x": x, "axes": list(axes), "keep_dims": keep})


@lowers("aten.amax.default")
def _amax(context: Context, x: Value, axes: list[int], keep: bool = False) -> Value:
    return context.op("reduce_max", {"x": x, "axes": [a % len(x.shape) for a in axes], "keep_dims": keep})


@lowers("aten.linalg_vector_norm.default")
def _vector_norm(context: Context, x: Value, order: float, axes: list[int], keep: bool = False) -> Value:
    if order != 2:
        raise context.unsupported(f"a vector norm of order {order}")
    return context.op("reduce_l2_norm", {"x": x, "axes": [a % len(x.shape) for a in axes], "keep_dims": keep})


@lowers("aten.argmax.default")
def _argmax(context: Context, x: Value, axis: int, keep: bool = False) -> Value:
    arguments: dict[str, Any] = {"x": x, "axis": axis, "keep_dims": keep}
    if context.builder.opset >= Opset.IOS17:
        arguments["output_dtype"] = "int32"
    return context.op("reduce_argmax", arguments, dtype=INT32)


@lowers("aten.softmax.int")
def _softmax(context: Context, x: Value, axis: int, *_: Any) -> Value:
    return context.op("softmax", {"x": x, "axis": axis})


@lowers("aten.matmul.default", "aten.bmm.default")
def _matmul(context: Context, x: Operand, y: Operand) -> Value:
    transpose_x, transpose_y = context.node.meta.get("transposed", (False, False))
    return context.op("matmul", {"x": x, "y": y, "transpose_x": transpose_x, "transpose_y": transpose_y})


@lowers("aten.einsum.default")
def _einsum(context: Context, equation: str, values: list[Value]) -> Value:
    """MIL's einsum knows the batched product ``nchw,nwhu->nchu`` alone, in any letters: swap the operands if that fits."""
    left, right, result = equation.replace(" ", "").replace("->", ",").split(",")
    for first, second, pair in ((left, right, values), (right, left, values[::-1])):
        if len(first) == len(second) == len(result) == 4:
            names = dict(zip(first, "nchw", strict=True))
            names.setdefault(second[3], "u")
            renamed = (
                "".join(names.get(letter, "?") for letter in second),
                "".join(names.get(letter, "?") for letter in result),
            )
            if renamed == ("nwhu", "nchu"):
                return context.op("einsum", {"values": pair, "equation": f"{first},{second}->{result}"})
    raise context.unsupported(f"einsum {equation}: not a form of nchw,nwhu->nchu, the one MIL has")
