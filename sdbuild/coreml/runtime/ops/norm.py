"""Normalisation."""

import torch
import torch.nn.functional as F  # noqa: N812

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op


@op("batch_norm")
def _batch_norm(call: Call) -> Bound:
    epsilon = call.number("epsilon", 1e-5)
    return call.bind(
        lambda x, mean, variance, gamma, beta: F.batch_norm(x, mean, variance, gamma, beta, eps=epsilon),
        *("x", "mean", "variance", "gamma?", "beta?"),
    )


@op("instance_norm")
def _instance_norm(call: Call) -> Bound:
    epsilon = call.number("epsilon", 1e-5)
    axes = list(range(2, call.rank("x")))
    shape = [1, -1, *[1] * len(axes)]

    def instance_norm(x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        out = (x - mean) * torch.rsqrt(variance + epsilon)
        if gamma is not None:
            out = out * gamma.reshape(shape)
        return out if beta is None else out + beta.reshape(shape)

    return call.bind(instance_norm, "x", "gamma?", "beta?")


@op("layer_norm")
def _layer_norm(call: Call) -> Bound:
    epsilon = call.number("epsilon", 1e-5)
    rank = call.rank("x")
    axes = sorted(axis % rank for axis in call.integers("axes", range(rank)))
    # Turned so that the axes come last; the result keeps that layout in memory, as channels-first programs gain by.
    order = [axis for axis in range(rank) if axis not in axes] + axes
    back = [order.index(axis) for axis in range(rank)]

    def layer_norm(x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
        turned = x.permute(order)
        return F.layer_norm(turned, turned.shape[-len(axes) :], gamma, beta, epsilon).permute(back)

    return call.bind(layer_norm, "x", "gamma?", "beta?")


@op("l2_norm")
def _l2_norm(call: Call) -> Bound:
    epsilon = call.number("epsilon", 1e-6)
    return call.bind(lambda x: x * torch.rsqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon), "x")


@op("local_response_norm")
def _local_response_norm(call: Call) -> Bound:
    size = call.integer("size")
    alpha, beta, k = call.number("alpha", 1e-4), call.number("beta", 0.75), call.number("k", 1.0)
    return call.bind(lambda x: F.local_response_norm(x, size, alpha, beta, k), "x")


@op("fused_group_norm")
def _group_norm(call: Call) -> Bound:
    groups, epsilon = call.integer("groups"), call.number("epsilon")
    return call.bind(lambda x: F.group_norm(x, groups, None, None, epsilon), "x")


@op("fused_group_norm_affine")
def _affine_group_norm(call: Call) -> Bound:
    """Group normalisation, then ``batch_norm``, which only scales where its mean is 0 and its variance 1."""
    groups, epsilon = call.integer("groups"), call.number("epsilon")
    if not call.array("mean").any() and (call.array("variance") == 1).all():
        return call.bind(lambda x, gamma, beta: F.group_norm(x, groups, gamma, beta, epsilon), "x", "gamma", "beta")

    def group_norm(x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return F.batch_norm(F.group_norm(x, groups, None, None, epsilon), mean, variance, gamma, beta, eps=0.0)

    return call.bind(group_norm, "x", "mean", "variance", "gamma", "beta")
