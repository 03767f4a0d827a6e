"""Elementwise operations of one and two tensors."""

from collections.abc import Callable

import torch

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Lowering, Tensor, op

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "round": torch.round,
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": torch.floor_divide,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,
    "mul": torch.mul,
    "not_equal": torch.ne,
    "sub": torch.sub,
}


def _unary(function: Callable[[Tensor], Tensor]) -> Lowering:
    return lambda call: call.bind(function, "x")


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Lowering:
    return lambda call: call.bind(function, "x", "y")


for _name, _function in _UNARY.items():
    op(_name)(_unary(_function))
for _name, _both in _BINARY.items():
    op(_name)(_binary(_both))


@op("exp2")
def _exp2(call: Call) -> Bound:
    dtype = call.out_dtype()
    return call.bind(lambda x: torch.exp2(x).to(dtype), "x")


@op("real_div")
def _real_div(call: Call) -> Bound:
    if call.out_dtype().is_floating_point:
        return call.bind(torch.div, "x", "y")
    dtype = call.out_dtype()
    return call.bind(lambda x, y: torch.div(x, y).to(dtype), "x", "y")


@op("pow")
def _pow(call: Call) -> Bound:
    if call.static("y") is not None and call.array("y").size == 1 and call.rank("y") <= call.rank("x"):
        exponent = call.number("y") if call.out_dtype().is_floating_point else call.integer("y")
        return call.bind(lambda x: torch.pow(x, exponent), "x")
    return call.bind(torch.pow, "x", "y")


@op("inverse")
def _inverse(call: Call) -> Bound:
    epsilon = call.number("epsilon", 1e-4)
    return call.bind(lambda x: torch.reciprocal(x + epsilon), "x")


@op("log")
def _log(call: Call) -> Bound:
    epsilon = call.number("epsilon", 1e-45)
    return call.bind(lambda x: torch.log(x + epsilon), "x")


@op("rsqrt")
def _rsqrt(call: Call) -> Bound:
    epsilon = call.number("epsilon", 1e-12)
    return call.bind(lambda x: torch.rsqrt(x + epsilon), "x")


@op("clip")
def _clip(call: Call) -> Bound:
    low, high = call.number("alpha"), call.number("beta")
    return call.bind(lambda x: torch.clamp(x, low, high), "x")


@op("threshold")
def _threshold(call: Call) -> Bound:
    low = call.number("alpha")
    return call.bind(lambda x: torch.clamp(x, min=low), "x")


@op("cast")
def _cast(call: Call) -> Bound:
    """Floats become integers by truncation, anything but zero becomes true."""
    dtype = call.dtype(call.text("dtype"))
    return call.bind(lambda x: x.to(dtype), "x")


@op("identity")
def _identity(call: Call) -> Bound:
    return call.bind(lambda x: x, "x", moves=True)


@op("select")
def _select(call: Call) -> Bound:
    return call.bind(lambda cond, a, b: torch.where(cond.bool(), a, b), "cond", "a", "b", moves=True)


@op("quantize")
def _quantize(call: Call) -> Bound:
    low, high = {"int8": (-128, 127), "uint8": (0, 255)}[call.text("output_dtype", choices=("int8", "uint8"))]
    dtype, shape = call.out_dtype(), _channels(call)

    def quantize(x: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        values = torch.round(x / scale.reshape(shape))
        if zero_point is not None:
            values = values + zero_point.reshape(shape).to(values.dtype)
        return torch.clamp(values, low, high).to(dtype)

    return call.bind(quantize, "input", "scale", "zero_point?")


@op("dequantize")
def _dequantize(call: Call) -> Bound:
    shape = _channels(call)

    def dequantize(x: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        values = x.to(scale.dtype)
        if zero_point is not None:
            values = values - zero_point.reshape(shape).to(scale.dtype)
        return values * scale.reshape(shape)

    return call.bind(dequantize, "input", "scale", "zero_point?")


def _channels(call: Call) -> list[int]:
    """The shape that lays a scale, one number or one a channel, along ``axis`` of the input."""
    shape = [1] * call.rank("input")
    if call.rank("scale"):
        shape[call.integer("axis")] = -1
    return shape
