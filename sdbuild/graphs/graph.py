"""A graph of tensor operations, in the order in which they are computed: nodes, parameters by name, shapes; no numbers."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

INPUT, GETITEM = "input", "getitem"
"""The two kinds of nodes that are no operation: what the graph takes, and one of the several results of another node."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a tensor without its numbers: ``dtype`` by torch's name ("float32"), and a static shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        """Whether it is of floating-point numbers."""
        return "float" in self.dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor of the checkpoint, or a buffer of the module, as an argument."""

    name: str


@dataclass(frozen=True, slots=True)
class Word:
    """One of torch's own words as an argument: ``kind`` is dtype, device, layout or memory_format."""

    kind: str
    name: str


@dataclass(eq=False, slots=True)
class Node:
    """An input of the graph, an operation, or one result of an operation that has several."""

    name: str
    op: str
    """`INPUT`, `GETITEM`, or an overload as torch names it, such as ``aten.linear.default``."""
    args: tuple[Any, ...] = ()
    """Nodes, parameters, words, numbers, strings, booleans, None, and lists of them."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    value: Any = None
    """A `TensorType`, a list of such, or None for what gives no tensor."""
    meta: dict[str, Any] = field(default_factory=dict)
    """What a simplification found out about it; not in the file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its one result."""
        shape: tuple[int, ...] = self.value.shape
        return shape


@dataclass
class Graph:
    """A program that was traced without weights, all shapes static."""

    nodes: list[Node]
    """In an order in which each comes after those that it uses."""
    outputs: list[Any]
    """The nodes that it gives."""
    parameters: dict[str, tuple[int, ...]]
    """The shape of each parameter and buffer of the module that was traced, by name, whether the graph uses it or not."""

    @property
    def inputs(self) -> list[Node]:
        """The nodes that it takes, in the order of the traced function's arguments."""
        return [node for node in self.nodes if node.op == INPUT]

    @property
    def used(self) -> set[str]:
        """The names of the parameters that some node takes: a VAE's halves are traced with the whole VAE at hand."""
        arguments = (argument for node in self.nodes for argument in leaves((node.args, node.kwargs)))
        return {argument.name for argument in arguments if isinstance(argument, Parameter)}

    def copy(self) -> "Graph":
        """The same graph with nodes of its own."""
        twins: dict[Node, Node] = {}
        for node in self.nodes:
            args, kwargs = substituted(node.args, twins.get), substituted(node.kwargs, twins.get)
            twins[node] = Node(node.name, node.op, args, kwargs, node.value, dict(node.meta))
        return Graph(list(twins.values()), substituted(self.outputs, twins.get), dict(self.parameters))


def leaves(argument: Any) -> Iterator[Any]:
    """What an argument holds, however deep its lists and dictionaries are."""
    if isinstance(argument, list | tuple):
        for item in argument:
            yield from leaves(item)
    elif isinstance(argument, dict):
        for item in argument.values():
            yield from leaves(item)
    else:
        yield argument


def substituted(argument: Any, instead: Callable[[Node], Node | None]) -> Any:
    """The argument with other nodes in it: ``instead`` gives the one that takes a node's place, or None."""
    if isinstance(argument, Node):
        return instead(argument) or argument
    if isinstance(argument, list | tuple):
        return type(argument)(substituted(item, instead) for item in argument)
    if isinstance(argument, dict):
        return {key: substituted(item, instead) for key, item in argument.items()}
    return argument


def users_of(nodes: Iterable[Node], outputs: Iterable[Any]) -> dict[Node, list[Node | None]]:
    """Who uses each node, each user once; None stands for the graph's outputs."""
    users: dict[Node, dict[Node | None, None]] = {}
    for node in nodes:
        users.setdefault(node, {})
        for argument in leaves((node.args, node.kwargs)):
            if isinstance(argument, Node):
                users.setdefault(argument, {})[node] = None
    for argument in leaves(list(outputs)):
        if isinstance(argument, Node):
            users.setdefault(argument, {})[None] = None
    return {node: list(found) for node, found in users.items()}
