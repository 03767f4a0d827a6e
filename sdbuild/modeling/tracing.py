"""Trace a component: the ATen operations of its module, in order, with the shapes of their tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule
from torch.fx import Node as FxNode
from torch.fx.experimental.proxy_tensor import make_fx

from sdbuild.errors import SourceError, in_brief, tells_of_no_memory
from sdbuild.graphs import Graph, Node, Parameter, TensorType, Word, write_graph
from sdbuild.graphs.graph import GETITEM, INPUT

if TYPE_CHECKING:  # to trace takes none of the libraries that make components
    from sdbuild.modeling.building import Component

PREFIX = "model."
"""Under this name each component holds its model; the rest of a parameter's name is the checkpoint's, and the graph's."""

_WORDS: dict[type, str] = {
    torch.dtype: "dtype",
    torch.device: "device",
    torch.layout: "layout",
    torch.memory_format: "memory_format",
}


def trace(component: Component, path: Path) -> int:
    """Trace without weights and write the graph to ``path`` (see `sdbuild.graphs.file`); returns the number of nodes.

    The graph refers to parameters by name; what depends on this machine or checkout is left out, so that the file depends on
    the architecture alone.

    Raises:
        UserError: layers whose shapes do not fit each other.
    """
    try:
        graph, constants = graph_of(component.module, component.arguments)
    except RuntimeError as error:  # of shapes that do not fit each other
        if tells_of_no_memory(str(error)):
            raise
        raise SourceError(
            f"trace: a model of this config.json can't be run: {in_brief(error)}; name another source or, if the library "
            "runs it, report a bug in sdbuild"
        ) from error
    if constants:
        raise TypeError(f"{', '.join(constants)}: tensors made in Python have no place in a graph without weights")
    write_graph(graph, path)
    return len(graph.nodes)


def graph_of(module: nn.Module, arguments: Sequence[Tensor]) -> tuple[Graph, dict[str, Tensor]]:
    """The graph of a module whose results are tensors, and the tensors that its code makes of Python's numbers, by name.

    Operations are as the module calls them, before torch takes any apart: an ``aten.conv2d`` stays one. Traced on the
    meta device nothing is computed. Parameters and buffers are named as the checkpoint does, without `PREFIX`.
    """
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def run(tensors: list[Tensor], *given: Tensor) -> Any:
        return functional_call(module, dict(zip(state, tensors, strict=True)), given)

    with torch.no_grad(), _exporting():
        traced = make_fx(run, tracing_mode="fake", pre_dispatch=True, _allow_non_fake_inputs=True)(
            list(state.values()), *arguments
        )
    graph, constants = _Reader(traced, state, list(signature(module.forward).parameters)).read()
    kept = {
        name.removeprefix(PREFIX) for name in module.state_dict()
    } | graph.used  # what no checkpoint has is left out
    graph.parameters = {name: shape for name, shape in graph.parameters.items() if name in kept}
    return graph, constants


@contextmanager
def _exporting() -> Iterator[None]:
    """Let libraries know, which then ask no tensor for its content, and write masks out."""
    before = {name: getattr(torch.compiler, name) for name in ("is_compiling", "is_exporting")}
    try:
        for name in before:
            setattr(torch.compiler, name, lambda: True)
        yield
    finally:
        for name, function in before.items():
            setattr(torch.compiler, name, function)


class _Reader:
    """torch's graph as ours."""

    def __init__(self, traced: GraphModule, state: Mapping[str, Tensor], inputs: Sequence[str]) -> None:
        self._traced = traced
        self._inputs = inputs
        self._parameters = {name.removeprefix(PREFIX): tuple(tensor.shape) for name, tensor in state.items()}
        self._known: dict[FxNode, Node | Parameter] = {}
        self._constants: dict[str, Tensor] = {}

    def read(self) -> tuple[Graph, dict[str, Tensor]]:
        graph: FxGraph = self._traced.graph
        placeholders = graph.find_nodes(op="placeholder")
        names = list(self._parameters)
        self._known = {placeholder: Parameter(name) for name, placeholder in zip(names, placeholders, strict=False)}
        for name, placeholder in zip(self._inputs, placeholders[len(names) :], strict=True):
            self._known[placeholder] = Node(name, INPUT, value=_described(placeholder.meta["val"]))
        outputs: list[Any] = []
        for node in graph.nodes:
            if node.op == "get_attr":
                self._constant(node)
            elif node.op == "call_function":
                operation = isinstance(node.target, torch._ops.OpOverload)
                self._add(node, str(node.target) if operation else GETITEM)
            elif node.op == "output":
                outputs = [self._argument(each) for each in node.args[0]]
        nodes = [node for node in self._known.values() if isinstance(node, Node)]
        return Graph(nodes, outputs, self._parameters), self._constants

    def _add(self, node: FxNode, op: str) -> None:
        args = tuple(self._argument(each) for each in node.args)
        kwargs = {key: self._argument(each) for key, each in node.kwargs.items()}
        name = f"{node.name}_result" if node.name in self._inputs else node.name
        self._known[node] = Node(name, op, args, kwargs, _described(node.meta.get("val")))

    def _constant(self, node: FxNode) -> None:
        name = str(node.target)
        tensor = getattr(self._traced, name)
        self._constants[name] = tensor
        self._parameters[name] = tuple(tensor.shape)
        self._known[node] = Parameter(name)

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, FxNode):
            return self._known[argument]
        if isinstance(argument, list | tuple):
            return [self._argument(item) for item in argument]
        kind = _WORDS.get(type(argument))
        if kind is not None:
            return Word(kind, argument.type if kind == "device" else str(argument).removeprefix("torch."))
        return argument


def _described(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    if value is None:
        return None
    return TensorType(str(value.dtype).removeprefix("torch."), tuple(value.shape))
