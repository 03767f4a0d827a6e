"""The file of a traced graph: JSON, a line a node, in which nothing can be but data. See docs/graph.md.

The keys::

    format      2
    parameters  the shape of each parameter and buffer of the module, by name
    nodes       in order; of each:
        name        its name in the graph
        op          "input", "getitem" (one of several results), or an operation such as "aten.linear.default"
        args        numbers, words, true, false, null and lists of them; an object with one key is another node
                    ({"node": name}), a parameter ({"parameter": name}) or one of torch's own words ({"dtype": "float32"},
                    also device, layout, memory_format)
        kwargs      likewise, by name
        value       what the node gives: {"dtype": …, "shape": […]}, a list of such, or null
    outputs     the nodes that the graph gives

torch's own file of a program (``torch.export.save``) holds pickles, for weights, constants and examples of inputs, and an
expression language for shapes; reading one can run code, and takes torch. A graph that was traced without weights, with all
shapes fixed, has use for neither.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sdbuild.errors import UserError, in_brief
from sdbuild.graphs.graph import GETITEM, INPUT, Graph, Node, Parameter, TensorType, Word

_FORMAT = 2
_MOST_BYTES = 1 << 28
"""Of a file; the graph of an SDXL UNet, the largest there is, takes 3 MB."""
_OPERATION = re.compile(r"(aten|sdbuild)\.\w+\.\w+", re.ASCII)
_WORDS = frozenset({"dtype", "device", "layout", "memory_format"})
_WORD = re.compile(r"\w+", re.ASCII)
_DTYPES = frozenset({
    "float64", "float32", "float16", "bfloat16", "complex64", "int64", "int32", "int16", "int8", "uint8", "bool"
})  # fmt: skip


def write_graph(graph: Graph, path: Path) -> None:
    """Write a graph; the same bytes each time.

    Raises:
        TypeError: it holds what has no place in the format.
    """
    nodes = ",\n".join(json.dumps(_written(node)) for node in graph.nodes)
    shapes = {name: list(shape) for name, shape in graph.parameters.items()}
    text = (
        f'{{"format": {_FORMAT}, "parameters": {json.dumps(shapes)}, "nodes": [\n{nodes}\n],\n'
        f'"outputs": {json.dumps(_plain(graph.outputs))}}}\n'
    )
    path.write_text(text, encoding="utf-8")


def _written(node: Node) -> dict[str, Any]:
    about: dict[str, Any] = {"name": node.name, "op": node.op}
    if node.op != INPUT:
        about |= {"args": _plain(node.args), "kwargs": {key: _plain(each) for key, each in node.kwargs.items()}}
    return {**about, "value": _described(node.value)}


def _plain(argument: Any) -> Any:
    if isinstance(argument, Node):
        return {"node": argument.name}
    if isinstance(argument, Parameter):
        return {"parameter": argument.name}
    if isinstance(argument, Word):
        return {argument.kind: argument.name}
    if isinstance(argument, list | tuple):
        return [_plain(item) for item in argument]
    if argument is None or type(argument) in (bool, int, float, str):
        return argument
    raise TypeError(f"{argument!r} has no place in a stored graph")


def _described(value: Any) -> Any:
    if isinstance(value, list):
        return [_described(item) for item in value]
    return None if value is None else {"dtype": value.dtype, "shape": list(value.shape)}


def read_graph(path: Path) -> Graph:
    """Read what `write_graph` wrote. Whatever the file holds, nothing of it is run, and nothing large is made of it.

    Raises:
        UserError: it is not such a file.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes are more than any graph takes")
        data = json.loads(path.read_bytes())
        if data["format"] != _FORMAT:
            raise ValueError("it is of another format")
        return _read(data)
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: not a graph as sdbuild writes it ({_reason(error)}); delete {path.parent} and build again"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return (error.strerror or "") if isinstance(error, OSError) else in_brief(error)


def _read(data: Mapping[str, Any]) -> Graph:
    parameters = {str(name): tuple(_sizes(shape)) for name, shape in data["parameters"].items()}
    nodes: dict[str, Node] = {}
    for entry in data["nodes"]:
        name, op = entry["name"], entry["op"]
        if not isinstance(name, str) or not name.isidentifier() or name in nodes:
            raise ValueError(f"a node is called {name!r}")
        node = Node(name, op, value=_value(entry["value"]))
        if op != INPUT:
            if op != GETITEM and not _OPERATION.fullmatch(op):
                raise ValueError(f"{op!r} is no operation of a graph")
            node.args = tuple(_argument(each, nodes, parameters) for each in entry["args"])
            node.kwargs = {str(key): _argument(each, nodes, parameters) for key, each in entry["kwargs"].items()}
        nodes[name] = node
    outputs = [nodes[each["node"]] for each in data["outputs"]]
    return Graph(list(nodes.values()), outputs, parameters)


def _argument(argument: Any, nodes: Mapping[str, Node], parameters: Mapping[str, Any]) -> Any:
    if isinstance(argument, list):
        return [_argument(item, nodes, parameters) for item in argument]
    if not isinstance(argument, dict):
        return argument
    ((kind, name),) = argument.items()
    if kind == "node":
        return nodes[name]
    if kind == "parameter":
        if name not in parameters:
            raise KeyError(name)
        return Parameter(name)
    if kind not in _WORDS or not _WORD.fullmatch(name):
        raise ValueError(f"{argument} is no argument")
    return Word(kind, name)


def _value(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [_value(item) for item in value]
    if value["dtype"] not in _DTYPES:
        raise ValueError(f"{value['dtype']!r} is no type of numbers")
    return TensorType(value["dtype"], tuple(_sizes(value["shape"])))


def _sizes(shape: Any) -> Iterator[int]:
    for size in shape:
        if type(size) is not int or size < 0:
            raise ValueError(f"{size!r} is no size")
        yield size
