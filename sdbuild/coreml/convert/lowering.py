"""Walk a traced graph and lower each ATen operation to MIL.

The registry maps an ATen overload, such as ``aten.linear.default``, to a function that receives the arguments as operands:
a `Value` of the program, a NumPy array for what is known now, a `Weight`, or plain Python for the rest. What depends on no
input is computed now and becomes a constant; what depends on weights alone is computed when they are read (`constants`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sdbuild.arrays import Array
from sdbuild.coreml.convert.builder import (
    BOOL,
    FLOAT16,
    FLOAT32,
    INT32,
    Builder,
    Folded,
    LoadWeight,
    Value,
    Weight,
)
from sdbuild.coreml.convert.constants import evaluate, evaluate_weights, is_computed, is_computed_of_weights
from sdbuild.coreml.convert.weights import read_weight
from sdbuild.errors import SourceError
from sdbuild.graphs.graph import GETITEM, INPUT, Graph, Node, Parameter

Operand = Any
Lower = Callable[..., Operand]

LOWERINGS: dict[str, Lower] = {}
"""By ATen overload; the files ``ops_*.py`` fill it."""


def lowers(*overloads: str) -> Callable[[Lower], Lower]:
    """Register a lowering for ATen overloads."""

    def register(function: Lower) -> Lower:
        for overload in overloads:
            LOWERINGS[overload] = function
        return function

    return register


class Context:
    """What a lowering works with: the builder, the node it lowers, and operands as values."""

    def __init__(self, builder: Builder, attention: str) -> None:
        """Lower into ``builder``, with that variant of a UNet's attention."""
        self.builder = builder
        self.attention = attention
        self.node: Node

    @property
    def name(self) -> str:
        """The name of the node that is being lowered."""
        return self.node.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The static shape of its result."""
        return self.node.shape

    @property
    def is_float(self) -> bool:
        """Whether its result is floating point."""
        is_float: bool = self.node.value.is_float
        return is_float

    def unsupported(self, what: str) -> SourceError:
        """The error for a form of an operation that is known otherwise; it names the node."""
        return SourceError(
            f"convert: no lowering for {what} ({self.node.op}, node {self.name}); the model uses an operation in a form that "
            "sdbuild does not know"
        )

    def tensor(self, operand: Operand) -> Any:
        """An operand fit to be an argument: float32 inputs of a float16 program are cast, the rest is as it stands."""
        if isinstance(operand, Value) and operand.dtype in (FLOAT16, FLOAT32):
            return self.builder.cast(operand, self.builder.float_type)
        return operand

    def op(
        self,
        kind: str,
        arguments: Mapping[str, Any],
        shape: Sequence[int] | None = None,
        part: str = "",
        dtype: int | None = None,
    ) -> Value:
        """Append an operation named after the node (and ``part`` of it); its shape is the node's unless given."""
        name = f"{self.name}_{part}" if part else self.name
        bound = {key: self.tensor(operand) for key, operand in arguments.items()}
        return self.builder.op(kind, name, bound, self.shape if shape is None else shape, dtype)

    def split(self, x: Value, parts: Sequence[tuple[int, ...]], axis: int, part: str = "") -> list[Value]:
        """Cut a value into parts of these shapes, which differ along ``axis`` alone."""
        if len(parts) == 1:
            return [x]
        value = self.tensor(x)
        name = f"{self.name}_{part}" if part else self.name
        arguments = {"x": value, "split_sizes": [shape[axis] for shape in parts], "axis": axis}
        return self.builder.multi_op("split", name, arguments, parts, value.dtype)


def lower_graph(graph: Graph, builder: Builder, inputs: Mapping[str, int], attention: str = "original") -> list[Value]:
    """Lower every node; returns the values of the graph's outputs.

    Args:
        graph: normalized, see `sdbuild.coreml.convert.normalize`.
        builder: receives the operations.
        inputs: MIL data type by input name, in the order of the traced function's arguments.
        attention: how a UNet's attention is computed, see `sdbuild.coreml.convert.ops_unet_attention`.

    Raises:
        UserError: an operation that has no lowering; it is named, with the node that it is.
    """
    context = Context(builder, attention)
    operands: dict[Node, Operand] = {}
    names = iter(inputs.items())
    for node in graph.nodes:
        context.node = node
        if node.op == INPUT:
            name, dtype = next(names)
            operands[node] = builder.input(name, node.shape, dtype)
        else:
            operands[node] = _lower_node(context, node, graph, operands)
    return [operands[output] for output in graph.outputs]


def _lower_node(context: Context, node: Node, graph: Graph, operands: Mapping[Node, Operand]) -> Operand:
    arguments = [_resolve(argument, graph, operands) for argument in node.args]
    if node.op == GETITEM:
        return arguments[0][arguments[1]]
    keywords = {key: _resolve(argument, graph, operands) for key, argument in node.kwargs.items()}
    given = [arguments, list(keywords.values())]
    if is_computed(node) and not _has(given, (Value, Weight, Folded)):
        return evaluate(node, arguments, keywords)
    if node.op in LOWERINGS and not _has(given, (Value, Weight, Folded)):
        raise context.unsupported("numbers that are known")
    if is_computed_of_weights(node) and not _has(given, Value):
        return Folded(node.name, node.shape, _promise(node, arguments))
    lower = LOWERINGS.get(node.op)
    if lower is None:
        raise SourceError(
            f"convert: no lowering for {node.op} (node {node.name}); the model uses an operation sdbuild does not know"
        )
    return lower(context, *arguments, **keywords)


def _resolve(argument: Any, graph: Graph, operands: Mapping[Node, Operand]) -> Any:
    if isinstance(argument, Node):
        return operands[argument]
    if isinstance(argument, Parameter):
        return Weight(argument.name, graph.parameters[argument.name])
    if isinstance(argument, list | tuple):
        return [_resolve(item, graph, operands) for item in argument]
    return argument


def _has(operand: Any, kinds: type | tuple[type, ...]) -> bool:
    """Whether an operand is of the kinds, or a list with such in it."""
    if isinstance(operand, list):
        return any(_has(item, kinds) for item in operand)
    return isinstance(operand, kinds)


def _promise(node: Node, arguments: list[Any]) -> Callable[[LoadWeight], Array]:
    """What computes a node of weights and constants, once weights can be loaded."""

    def read(argument: Any, load: LoadWeight) -> Any:
        if isinstance(argument, Weight):
            return read_weight(argument, load).astype("float32", copy=False)
        if isinstance(argument, Folded):
            return argument.compute(load)
        return [read(item, load) for item in argument] if isinstance(argument, list) else argument

    return lambda load: evaluate_weights(node, [read(argument, load) for argument in arguments])


def mil_type(dtype: str, float_type: int) -> int:
    """The MIL type that stands for a torch type: every float is the program's float, every integer int32."""
    if "float" in dtype:
        return float_type
    kind: int = BOOL if dtype == "bool" else INT32
    return kind
