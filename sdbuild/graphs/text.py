"""A graph as people read it: a line a node, each result before its operation, parameters by their names."""

from collections.abc import Iterator
from typing import Any

from sdbuild.graphs.graph import INPUT, Graph, Node, Parameter, TensorType, Word


def as_text(graph: Graph) -> Iterator[str]:
    """The lines of a graph, as in docs/graph.md: what it takes, its operations, and what it gives."""
    for node in graph.nodes:
        if node.op == INPUT:
            yield f"input %{node.name}: {_type(node.value)}"
    for node in graph.nodes:
        if node.op != INPUT:
            named = [f"{key}={_shown(graph, value)}" for key, value in node.kwargs.items()]
            arguments = ", ".join([*(_shown(graph, argument) for argument in node.args), *named])
            yield f"%{node.name}: {_type(node.value)} = {node.op}({arguments})"
    for output in graph.outputs:
        yield f"output {_shown(graph, output)}"


def _shown(graph: Graph, argument: Any) -> str:
    if isinstance(argument, Node):
        return f"%{argument.name}"
    if isinstance(argument, Parameter):
        return f"{argument.name} {list(graph.parameters[argument.name])}"
    if isinstance(argument, Word):
        return argument.name
    if isinstance(argument, list | tuple):
        return f"[{', '.join(_shown(graph, item) for item in argument)}]"
    return repr(argument)


def _type(value: Any) -> str:
    if isinstance(value, TensorType):
        return f"{value.dtype}{list(value.shape)}"
    return f"({', '.join(_type(item) for item in value)})" if isinstance(value, list) else "nothing"
