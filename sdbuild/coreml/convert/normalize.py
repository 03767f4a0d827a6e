"""Simplify a traced graph before lowering: what torch had to spell out and MIL need not.

Rewrites of ``torch.fx`` nodes, none looking at a weight:

- a layer norm over channels, which torch can only say as permute → layer_norm → permute, becomes one ``layer_norm``
  whose node carries ``meta["axes"]``;
- a matrix product of a transposed operand transposes by itself: ``meta["transposed"]`` says which of the two;
- attention transposes its queries and keys by itself: ``meta["heads_last"]``;
- a convolution that is only multiplied by a number has it in its weights: ``meta["scale"]``;
- two transpositions of the same axes are dropped;
- group normalisation looks through a flattening of what it normalises over;
- equal operations on equal operands become one (every residual block computes the same ``silu`` of the time embedding);
- what nothing uses is dropped.
"""

from typing import Any

import torch
from torch.fx import Graph, Node

from sdbuild.coreml.convert.program import Program

_PERMUTE = torch.ops.aten.permute.default
_LAYER_NORM = torch.ops.aten.layer_norm.default
_TRANSPOSE = torch.ops.aten.transpose.int
_GROUP_NORM = torch.ops.aten.group_norm.default
_MATMUL = torch.ops.aten.matmul.default
_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
_CONVOLUTION = torch.ops.aten.conv2d.default
_MULTIPLY = torch.ops.aten.mul.Tensor
_VIEW = torch.ops.aten.view.default


def normalize(exported: Program) -> Program:
    """Rewrite the program's graph in place, and return the program."""
    graph = exported.graph
    _merge_equal(graph)
    _fold_channel_norms(graph)
    _fold_transposes(graph)
    _fold_heads(graph)
    _fold_scales(graph)
    _drop_idle_transposes(graph)
    _unflatten_group_norms(graph)
    for node in reversed(graph.nodes):
        if node.op == "call_function" and not node.users:
            graph.erase_node(node)
    return exported


def _merge_equal(graph: Graph) -> None:
    seen: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor):
            continue
        key = (node.target, _freeze(node.args), _freeze(node.kwargs))
        twin = seen.setdefault(key, node)
        if twin is not node:
            node.replace_all_uses_with(twin)
            graph.erase_node(node)


def _freeze(argument: Any) -> Any:
    """A hashable stand-in; types are part of it, since 1, 1.0 and True are equal to Python."""
    if isinstance(argument, (list, tuple)):
        return tuple(_freeze(item) for item in argument)
    if isinstance(argument, dict):
        return tuple((key, _freeze(item)) for key, item in argument.items())
    return (type(argument), argument)


def _fold_channel_norms(graph: Graph) -> None:
    for norm in list(graph.find_nodes(op="call_function", target=_LAYER_NORM)):
        before, users = norm.args[0], list(norm.users)
        if (
            len(norm.args[1]) != 1
            or before.target is not _PERMUTE
            or any(user.target is not _PERMUTE for user in users)
        ):
            continue
        order = [axis % len(before.args[1]) for axis in before.args[1]]
        inverse = [order.index(axis) for axis in range(len(order))]
        if any([axis % len(order) for axis in user.args[1]] != inverse for user in users):
            continue
        norm.args = (before.args[0], *norm.args[1:])
        norm.meta["axes"] = [order[-1]]
        norm.meta["val"] = before.args[0].meta["val"]
        for user in users:
            user.replace_all_uses_with(norm)
            graph.erase_node(user)


def _fold_transposes(graph: Graph) -> None:
    for product in graph.find_nodes(op="call_function", target=_MATMUL):
        operands, transposed = list(product.args), [False, False]
        for side, operand in enumerate(operands):
            if operand.target is _TRANSPOSE:
                rank = operand.meta["val"].dim()
                if {axis % rank for axis in operand.args[1:]} == {rank - 2, rank - 1}:
                    operands[side], transposed[side] = operand.args[0], True
        product.args = tuple(operands)
        product.meta["transposed"] = transposed


def _fold_heads(graph: Graph) -> None:
    for attention in graph.find_nodes(op="call_function", target=_ATTENTION):
        query, key, *others = attention.args
        if all(node.target is _TRANSPOSE and node.args[1:] == (1, 2) for node in (query, key)):
            attention.args = (query.args[0], key.args[0], *others)
            attention.meta["heads_last"] = True


def _fold_scales(graph: Graph) -> None:
    for product in list(graph.find_nodes(op="call_function", target=_MULTIPLY)):
        layer, factor = product.args
        if getattr(layer, "target", None) is _CONVOLUTION and len(layer.users) == 1 and isinstance(factor, float):
            layer.meta["scale"] = layer.meta.get("scale", 1.0) * factor
            product.replace_all_uses_with(layer)
            graph.erase_node(product)


def _drop_idle_transposes(graph: Graph) -> None:
    for node in graph.find_nodes(op="call_function", target=_TRANSPOSE):
        inner = node.args[0]
        if inner.target is _TRANSPOSE:
            rank = node.meta["val"].dim()
            if {axis % rank for axis in node.args[1:]} == {axis % rank for axis in inner.args[1:]}:
                node.replace_all_uses_with(inner.args[0])


def _unflatten_group_norms(graph: Graph) -> None:
    for norm in graph.find_nodes(op="call_function", target=_GROUP_NORM):
        flat = norm.args[0]
        if flat.target is _VIEW and flat.args[0].meta["val"].shape[:2] == flat.meta["val"].shape[:2]:
            norm.args = (flat.args[0], *norm.args[1:])
