"""Simplify a traced graph before lowering: what torch had to spell out and MIL need not.

Rewrites, none looking at a weight:

- equal operations on equal operands become one (every residual block computes the same ``silu`` of the time embedding);
- a layer norm over channels, which torch can only say as permute → layer_norm → permute, becomes one ``layer_norm``
  whose node carries ``meta["axes"]``;
- a matrix product of a transposed operand transposes by itself: ``meta["transposed"]`` says which of the two;
- attention transposes its queries and keys by itself: ``meta["heads_last"]``;
- a convolution that is only multiplied by a number has it in its weights: ``meta["scale"]``; so has one that makes nothing
  but the queries of an attention, which then has ``meta["scaled"]``;
- two transpositions of the same axes are dropped;
- group normalisation looks through a flattening of what it normalises over;
- what nothing uses is dropped.
"""

from collections.abc import Callable
from typing import Any

from sdbuild.graphs.graph import INPUT, Graph, Node, TensorType, leaves, substituted, users_of

_PERMUTE = "aten.permute.default"
_LAYER_NORM = "aten.layer_norm.default"
_TRANSPOSE = "aten.transpose.int"
_GROUP_NORM = "aten.group_norm.default"
_MATMUL = "aten.matmul.default"
_SCALED_DOT_PRODUCT = "aten.scaled_dot_product_attention.default"
_ATTENTION = "sdbuild.attention.default"
_CONVOLUTION = "aten.conv2d.default"
_MULTIPLY = "aten.mul.Tensor"
_VIEW = "aten.view.default"

Users = dict[Node, list[Node | None]]
Rewrite = Callable[[Node, Users, dict[Node, Node]], None]
"""Looks at one node and may change it, or say in the last argument which other node takes its place."""


def normalize(graph: Graph) -> Graph:
    """A simplified copy of the graph."""
    graph = graph.copy()
    _rewrite(graph, _Merge())
    for rewrite in (
        _fold_channel_norms, _fold_transposes, _fold_heads, _fold_scales, _drop_idle_transposes, _unflatten_group_norms
    ):  # fmt: skip
        _rewrite(graph, rewrite)
    _drop_unused(graph)
    return graph


def _rewrite(graph: Graph, rewrite: Rewrite) -> None:
    """Have all nodes looked at, first to last, each with arguments that are up to date."""
    users, instead = users_of(graph.nodes, graph.outputs), dict[Node, Node]()
    for node in graph.nodes:
        if instead:
            node.args, node.kwargs = substituted(node.args, instead.get), substituted(node.kwargs, instead.get)
        rewrite(node, users, instead)
    if instead:
        graph.outputs = substituted(graph.outputs, instead.get)
        graph.nodes = [node for node in graph.nodes if node not in instead]


class _Merge:
    def __init__(self) -> None:
        self._seen: dict[Any, Node] = {}

    def __call__(self, node: Node, users: Users, instead: dict[Node, Node]) -> None:
        if node.op == INPUT or not isinstance(node.value, TensorType):
            return
        twin = self._seen.setdefault((node.op, _frozen(node.args), _frozen(node.kwargs)), node)
        if twin is not node:
            instead[node] = twin


def _frozen(argument: Any) -> Any:
    """A hashable stand-in; types are part of it, since 1, 1.0 and True are equal to Python."""
    if isinstance(argument, list | tuple):
        return tuple(_frozen(item) for item in argument)
    if isinstance(argument, dict):
        return tuple((key, _frozen(item)) for key, item in argument.items())
    return (type(argument), argument)


def _is(argument: Any, op: str) -> bool:
    return isinstance(argument, Node) and argument.op == op


def _fold_channel_norms(node: Node, users: Users, instead: dict[Node, Node]) -> None:
    if node.op != _LAYER_NORM or len(node.args[1]) != 1 or not _is(node.args[0], _PERMUTE):
        return
    before = node.args[0]
    order = [axis % len(before.args[1]) for axis in before.args[1]]
    inverse = [order.index(axis) for axis in range(len(order))]
    for user in users[node]:
        if user is None or user.op != _PERMUTE or [axis % len(order) for axis in user.args[1]] != inverse:
            return
    node.args = (before.args[0], *node.args[1:])
    node.meta["axes"] = [order[-1]]
    node.value = before.args[0].value
    instead.update({user: node for user in users[node] if user is not None})


def _fold_transposes(node: Node, users: Users, instead: dict[Node, Node]) -> None:
    if node.op != _MATMUL:
        return
    operands, transposed = list(node.args), [False, False]
    for side, operand in enumerate(operands):
        if _is(operand, _TRANSPOSE) and _axes(operand) == {len(operand.shape) - 2, len(operand.shape) - 1}:
            operands[side], transposed[side] = operand.args[0], True
    node.args = tuple(operands)
    node.meta["transposed"] = transposed


def _axes(transposition: Node) -> set[int]:
    return {axis % len(transposition.shape) for axis in transposition.args[1:]}


def _fold_heads(node: Node, users: Users, instead: dict[Node, Node]) -> None:
    if node.op != _SCALED_DOT_PRODUCT:
        return
    query, key, *others = node.args
    if all(_is(operand, _TRANSPOSE) and operand.args[1:] == (1, 2) for operand in (query, key)):
        node.args = (query.args[0], key.args[0], *others)
        node.meta["heads_last"] = True


def _fold_scales(node: Node, users: Users, instead: dict[Node, Node]) -> None:
    if node.op == _MULTIPLY:
        layer, factor = node.args
        if isinstance(factor, float) and _serves_one(layer, users):
            layer.meta["scale"] = layer.meta.get("scale", 1.0) * factor
            instead[node], users[layer] = layer, users[node]
    elif node.op == _ATTENTION:
        query, _, _, heads = node.args
        if _serves_one(query, users):
            query.meta["scale"] = query.meta.get("scale", 1.0) * (query.shape[1] // heads) ** -0.5
            node.meta["scaled"] = True


def _serves_one(layer: Any, users: Users) -> bool:
    return _is(layer, _CONVOLUTION) and len(users[layer]) == 1


def _drop_idle_transposes(node: Node, users: Users, instead: dict[Node, Node]) -> None:
    if _is(node, _TRANSPOSE) and _is(node.args[0], _TRANSPOSE) and _axes(node) == _axes(node.args[0]):
        instead[node] = node.args[0].args[0]


def _unflatten_group_norms(node: Node, users: Users, instead: dict[Node, Node]) -> None:
    if node.op != _GROUP_NORM or not _is(node.args[0], _VIEW):
        return
    flat = node.args[0]
    if flat.args[0].shape[:2] == flat.shape[:2]:
        node.args = (flat.args[0], *node.args[1:])


def _drop_unused(graph: Graph) -> None:
    used = {argument for argument in leaves(graph.outputs) if isinstance(argument, Node)}
    for node in reversed(graph.nodes):
        if node in used:
            used.update(each for each in leaves((node.args, node.kwargs)) if isinstance(each, Node))
    graph.nodes = [node for node in graph.nodes if node in used or node.op == INPUT]
