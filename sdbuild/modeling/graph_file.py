"""Traced graphs as plain data: JSON that names ATen operations and parameters, and that nothing but data can come of.

torch's own file of a program (``torch.export.save``) holds pickles, for weights, constants and examples of inputs, and an
expression language for shapes; reading one can run code. A graph that was traced without weights, with all shapes fixed,
has use for neither. The keys::

    format      1
    parameters  the shape of each parameter and buffer of the module, by name
    nodes       in order; of each:
        name        its name in the graph
        op          "placeholder", "output", "getitem", or an ATen overload such as "aten.linear.default"
        holds       of a placeholder, the parameter that it stands for; null for an input
        args        numbers, words, true, false, null and lists of them; an object with one key is another node
                    ({"node": name}) or one of torch's own words ({"dtype": "float32"}, also device, layout, memory_format)
        kwargs      likewise, by name
        value       what the node gives: {"dtype": …, "shape": […]}, a list of such, or null
"""

import json
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import ExportGraphSignature, InputKind, InputSpec, TensorArgument
from torch.fx import Graph, Node

from sdbuild.errors import UserError, in_brief, tells_of_no_memory

_FORMAT = 1
_MOST_BYTES = 1 << 28
"""Of a file; the graph of an SDXL UNet, the largest there is, takes 5 MB."""
_OVERLOAD = re.compile(r"aten\.(\w+)\.(\w+)", re.ASCII)
_GETITEM = "getitem"


def _words(kind: type) -> dict[str, Any]:
    return {str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, kind)}


_TORCH: dict[str, Mapping[str, Any]] = {
    "dtype": _words(torch.dtype),
    "layout": _words(torch.layout),
    "memory_format": _words(torch.memory_format),
    "device": {name: torch.device(name) for name in ("cpu", "meta")},
}
"""torch's words in arguments, by their kind."""


@dataclass(frozen=True)
class Traced:
    """A graph as it was traced, without what ``torch.export`` has around one.

    Attributes:
        graph: placeholders, operations and an output; ``meta["val"]`` of a node has its type and shape, and no content.
        graph_signature: which placeholder stands for which parameter, and which are inputs.
        parameters: the shape of each parameter and buffer of the module, by name.
    """

    graph: Graph
    graph_signature: ExportGraphSignature
    parameters: Mapping[str, tuple[int, ...]]


def write_graph(exported: torch.export.ExportedProgram, path: Path) -> None:
    """Write a program that was traced without weights; the same bytes each time.

    Raises:
        TypeError: it holds what has no place in the format, such as a symbolic size.
    """
    holds = {spec.arg.name: spec.target for spec in exported.graph_signature.input_specs}
    nodes = ",\n".join(json.dumps(_written(node, holds)) for node in exported.graph.nodes)
    shapes = {name: list(tensor.shape) for name, tensor in exported.state_dict.items()}
    text = f'{{"format": {_FORMAT}, "parameters": {json.dumps(shapes)}, "nodes": [\n{nodes}\n]}}\n'
    path.write_text(text, encoding="utf-8")


def _written(node: Node, holds: Mapping[str, str | None]) -> dict[str, Any]:
    if node.op == "placeholder":
        about: dict[str, Any] = {"op": node.op, "holds": holds[node.name]}
    elif node.op == "output":
        about = {"op": node.op, "args": _plain(node.args)}
    else:
        op = _GETITEM if node.target is operator.getitem else str(node.target)
        about = {
            "op": op,
            "args": _plain(node.args),
            "kwargs": {key: _plain(each) for key, each in node.kwargs.items()},
        }
    return {"name": node.name, **about, "value": _described(node.meta.get("val"))}


def _plain(argument: Any) -> Any:
    if isinstance(argument, Node):
        return {"node": argument.name}
    if isinstance(argument, (list, tuple)):
        return [_plain(item) for item in argument]
    if argument is None or type(argument) in (bool, int, float, str):
        return argument
    for kind, known in _TORCH.items():
        for name, value in known.items():
            if type(value) is type(argument) and value == argument:
                return {kind: name}
    raise TypeError(f"{argument!r} has no place in a stored graph")


def _described(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [_described(item) for item in value]
    if not isinstance(value, torch.Tensor) or not all(type(size) is int for size in value.shape):
        raise TypeError(f"{value!r} has no place in a stored graph")
    return {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}


def read_graph(path: Path) -> Traced:
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
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and tells_of_no_memory(str(error)):
            raise
        raise UserError(
            f"{path}: not a graph as sdbuild writes it ({_reason(error)}); delete {path.parent} and build again"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return (error.strerror or "") if isinstance(error, OSError) else in_brief(error)


def _read(data: Mapping[str, Any]) -> Traced:
    graph, nodes, specs = Graph(), dict[str, Node](), list[InputSpec]()
    for entry in data["nodes"]:
        name, op = entry["name"], entry["op"]
        if not isinstance(name, str) or not name.isidentifier() or name in nodes:
            raise ValueError(f"a node is called {name!r}")
        if op == "placeholder":
            node, holds = graph.placeholder(name), entry["holds"]
            if not isinstance(holds, str | None):
                raise TypeError(f"{name} holds {holds!r}")
            kind = InputKind.USER_INPUT if holds is None else InputKind.PARAMETER
            specs.append(InputSpec(kind, TensorArgument(name), holds))
        elif op == "output":
            node = graph.output(_argument(entry["args"][0], nodes))
        else:
            arguments = tuple(_argument(each, nodes) for each in entry["args"])
            keywords = {str(key): _argument(each, nodes) for key, each in entry["kwargs"].items()}
            node = graph.call_function(_operation(op), arguments, keywords)
        node.name = name
        if (value := _value(entry["value"])) is not None:
            node.meta["val"] = value
        nodes[name] = node
    parameters = {str(name): tuple(_sizes(shape)) for name, shape in data["parameters"].items()}
    return Traced(graph, ExportGraphSignature(specs, []), parameters)


def _operation(op: Any) -> Any:
    """An ATen overload that changes none of its operands, or the choice of one of several results."""
    if op == _GETITEM:
        return operator.getitem
    names = _OVERLOAD.fullmatch(op)
    found = names and getattr(getattr(torch.ops.aten, names[1], None), names[2], None)
    if not isinstance(found, torch._ops.OpOverload) or found._schema.is_mutable:
        raise ValueError(f"{op!r} is no operation of a graph")
    return found


def _argument(argument: Any, nodes: Mapping[str, Node]) -> Any:
    if isinstance(argument, list):
        return [_argument(item, nodes) for item in argument]
    if not isinstance(argument, dict):
        return argument
    ((kind, name),) = argument.items()
    return nodes[name] if kind == "node" else _TORCH[kind][name]


def _value(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [_value(item) for item in value]
    return torch.empty(list(_sizes(value["shape"])), dtype=_TORCH["dtype"][value["dtype"]], device="meta")


def _sizes(shape: Any) -> Iterator[int]:
    for size in shape:
        if type(size) is not int or size < 0:
            raise ValueError(f"{size!r} is no size")
        yield size
