"""Activations."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Lowering, Tensor, op

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "softsign": F.softsign,
}


def _plain(function: Callable[[Tensor], Tensor]) -> Lowering:
    return lambda call: call.bind(function, "x")


for _name, _function in _PLAIN.items():
    op(_name)(_plain(_function))


@op("gelu")
def _gelu(call: Call) -> Bound:
    mode = call.text("mode", "EXACT", choices=("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"))
    if mode == "EXACT":
        return call.bind(F.gelu, "x")
    if mode == "TANH_APPROXIMATION":
        return call.bind(lambda x: F.gelu(x, approximate="tanh"), "x")
    return call.bind(lambda x: x * torch.sigmoid(1.702 * x), "x")


@op("softmax")
def _softmax(call: Call) -> Bound:
    axis = call.integer("axis", -1)
    return call.bind(lambda x: torch.softmax(x, axis), "x")


@op("leaky_relu")
def _leaky_relu(call: Call) -> Bound:
    alpha = call.number("alpha")
    return call.bind(lambda x: F.leaky_relu(x, alpha), "x")


@op("elu")
def _elu(call: Call) -> Bound:
    alpha = call.number("alpha")
    return call.bind(lambda x: F.elu(x, alpha), "x")


@op("thresholded_relu")
def _thresholded_relu(call: Call) -> Bound:
    alpha = call.number("alpha")
    return call.bind(lambda x: torch.where(x >= alpha, x, torch.zeros_like(x)), "x")


@op("clamped_relu")
def _clamped_relu(call: Call) -> Bound:
    alpha, beta = call.number("alpha"), call.number("beta")
    return call.bind(lambda x: torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta), "x")


@op("linear_activation")
def _linear_activation(call: Call) -> Bound:
    alpha, beta = call.number("alpha"), call.number("beta")
    return call.bind(lambda x: x * alpha + beta, "x")


@op("scaled_tanh")
def _scaled_tanh(call: Call) -> Bound:
    alpha, beta = call.number("alpha"), call.number("beta")
    return call.bind(lambda x: alpha * torch.tanh(beta * x), "x")


@op("sigmoid_hard")
def _sigmoid_hard(call: Call) -> Bound:
    alpha, beta = call.number("alpha"), call.number("beta")
    return call.bind(lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0), "x")


@op("prelu")
def _prelu(call: Call) -> Bound:
    return call.bind(F.prelu, "x", "alpha")


@op("softplus_parametric")
def _softplus_parametric(call: Call) -> Bound:
    shape = [1, -1, *[1] * (call.rank("x") - 2)]
    return call.bind(
        lambda x, alpha, beta: alpha.reshape(shape) * F.softplus(x * beta.reshape(shape)), "x", "alpha", "beta"
    )
