"""Lowerings of layers: convolution, linear, normalisation, resizing, activations with parameters."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sdbuild.coreml.convert.builder import FLOAT32, Fixed, Value, Weight
from sdbuild.coreml.convert.lowering import Context, Operand, lowers


@lowers("aten.linear.default")
def _linear(context: Context, x: Value, weight: Operand, bias: Operand | None = None) -> Value:
    if bias is None:
        bias = np.zeros(weight.shape[0], np.float32)
    return context.op("linear", {"x": x, "weight": weight, "bias": bias})


@lowers("aten.conv2d.default", "aten.conv2d.padding")
def _conv2d(
    context: Context,
    x: Value,
    weight: Operand,
    bias: Operand | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] | str = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Value:
    scale = context.node.meta.get("scale")
    if scale is not None:
        weight = _scaled(weight, scale)
        bias = np.zeros(weight.shape[0], np.float32) if bias is None else _scaled(bias, scale)
    arguments: dict[str, Any] = {"x": x, "weight": weight}
    if bias is not None:
        arguments["bias"] = bias
    pads = [0, 0] if padding == "valid" else [int(n) for n in padding] if not isinstance(padding, str) else None
    if pads is None:
        raise context.unsupported(f"conv2d padding {padding!r}")
    arguments |= {
        "strides": list(stride),
        "pad_type": "custom" if any(pads) else "valid",
        "pad": [pads[0], pads[0], pads[1], pads[1]],
        "dilations": list(dilation),
        "groups": groups,
    }
    return context.op("conv", arguments)


@lowers("aten.layer_norm.default")
def _layer_norm(
    context: Context,
    x: Value,
    normalized: Sequence[int],
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: float = 1e-5,
    *_: Any,
) -> Value:
    axes = context.node.meta.get("axes", list(range(-len(normalized), 0)))
    arguments: dict[str, Any] = {"x": x, "axes": axes, "epsilon": epsilon}
    if gamma is not None:
        arguments["gamma"] = gamma
    if beta is not None:
        arguments["beta"] = beta
    return context.op("layer_norm", arguments)


@lowers("aten.group_norm.default")
def _group_norm(
    context: Context,
    x: Value,
    groups: int,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: float = 1e-5,
    *_: Any,
) -> Value:
    """MIL has no group normalisation: normalise a [batch, groups, channels / groups, …] view, then scale by channel.

    Scaling is a ``batch_norm`` of mean 0 and variance 1, the form that coremltools arrives at and Apple's compilers fuse;
    its epsilon, MIL's default, multiplies by 0.999995.
    """
    batch, channels, *spatial = context.shape  # x may be what it was before a flattening
    shape = (batch, groups, channels // groups, *spatial)
    axes = list(range(2, len(shape)))
    reduced = (batch, groups, *(1 for _ in axes))
    grouped = context.op("reshape", {"x": x, "shape": list(shape)}, shape, "grouped")
    mean = context.op("reduce_mean", {"x": grouped, "axes": axes, "keep_dims": True}, reduced, "mean")
    centred = context.op("sub", {"x": grouped, "y": mean}, shape, "centred")
    squared = context.op("square", {"x": centred}, shape, "squared")
    variance = context.op("reduce_mean", {"x": squared, "axes": axes, "keep_dims": True}, reduced, "variance")
    safe = context.op("add", {"x": variance, "y": float(epsilon)}, reduced, "epsilon")
    deviation = context.op("sqrt", {"x": safe}, reduced, "deviation")
    normal = context.op("real_div", {"x": centred, "y": deviation}, shape, "normal")
    if gamma is None and beta is None:
        return context.op("reshape", {"x": normal, "shape": list(context.shape)})
    gamma = np.ones(channels, np.float32) if gamma is None else gamma
    beta = np.zeros(channels, np.float32) if beta is None else beta
    flat = context.op("reshape", {"x": normal, "shape": list(context.shape)}, part="flat")
    if len(context.shape) < 4:  # batch_norm is of images
        per_channel = (1, channels, *(1 for _ in context.shape[2:]))
        scaled = context.op("mul", {"x": flat, "y": _reshaped(gamma, per_channel)}, part="scaled")
        return context.op("add", {"x": scaled, "y": _reshaped(beta, per_channel)})
    return context.op(
        "batch_norm",
        {
            "x": flat,
            "mean": np.zeros(channels, np.float32),
            "variance": np.ones(channels, np.float32),
            "gamma": gamma,
            "beta": beta,
            "epsilon": 1e-5,
        },
    )


def _scaled(weight: Operand, scale: float) -> Operand:
    return replace(weight, scale=scale) if isinstance(weight, Weight) else weight * np.float32(scale)


def _reshaped(weight: Operand, shape: tuple[int, ...]) -> Operand:
    return Weight(weight.name, shape) if isinstance(weight, Weight) else np.reshape(weight, shape)


@lowers("aten.gelu.default")
def _gelu(context: Context, x: Value, approximate: str = "none") -> Value:
    return context.op("gelu", {"x": x, "mode": "EXACT" if approximate == "none" else "TANH_APPROXIMATION"})


@lowers("aten.upsample_nearest2d.vec")
def _upsample(context: Context, x: Value, size: Any, scales: Any) -> Value:
    height, width = (new / old for new, old in zip(context.shape[2:], x.shape[2:], strict=True))
    if not (height.is_integer() and width.is_integer()):  # between whole factors MIL and torch pick other pixels
        raise context.unsupported(f"upsampling from {x.shape[2:]} to {context.shape[2:]}")
    factors = {"scale_factor_height": Fixed(height, FLOAT32), "scale_factor_width": Fixed(width, FLOAT32)}
    arguments: dict[str, Any] = {"x": x, **factors}
    return context.op("upsample_nearest_neighbor", arguments)
