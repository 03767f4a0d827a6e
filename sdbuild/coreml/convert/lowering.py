"""Walk a traced graph and lower each ATen operation to MIL.

The registry maps an ATen overload, such as ``aten.linear.default``, to a function that receives the arguments as operands:
a `Value` of the program, a NumPy array for what is known now, a `Weight`, or plain Python for the rest. What depends on no
input is computed now, with torch, and becomes a constant; what depends on weights alone is computed when they are read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.export.graph_signature import InputKind
from torch.fx import Node

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
from sdbuild.coreml.convert.program import Program
from sdbuild.coreml.convert.weights import read_weight
from sdbuild.errors import SourceError

Operand = Any
Lower = Callable[..., Operand]

LOWERINGS: dict[str, Lower] = {}
"""By ATen overload; the files ``ops_*.py`` fill it."""

_SKIPPED = frozenset({"aten._assert_tensor_metadata.default", "aten.sym_constrain_range_for_size.default"})
_FOLDED = frozenset({"aten.div.Tensor", "aten.expand.default", "aten.linalg_vector_norm.default", "aten.neg.default"})
"""What is computed of weights alone, all of them small: a safety checker's concepts brought to length one."""
_COMPUTED = frozenset({
    "add", "arange", "bitwise_and", "bitwise_not", "bitwise_or", "clone", "cos", "cumsum", "detach", "div", "eq", "exp",
    "expand", "eye", "fill", "full", "full_like", "ge", "gt", "le", "lift_fresh_copy", "linspace", "log", "logical_and",
    "logical_not", "logical_or", "lt", "masked_fill", "mul", "ne", "neg", "new_full", "new_ones", "new_zeros", "ones",
    "ones_like", "permute", "pow", "repeat", "reshape", "rsub", "scalar_tensor", "select", "sin", "slice", "sqrt", "squeeze",
    "stack", "sub", "to", "transpose", "tril", "triu", "unsqueeze", "view", "where", "zeros", "zeros_like",
})  # fmt: skip
"""What is computed of constants alone beside what can be lowered, in whatever overload: masks, positions, frequencies. Nothing
else: a graph is a file, and there are ATen operations that read and write others."""
_FOLD_LIMIT = 1 << 22
"""Elements of the largest constant that is computed ahead; a mask of 77×77 tokens is far below."""


def lowers(*overloads: str) -> Callable[[Lower], Lower]:
    """Register a lowering for ATen overloads."""

    def register(function: Lower) -> Lower:
        for overload in overloads:
            LOWERINGS[overload] = function
        return function

    return register


class Context:
    """What a lowering works with: the builder, the node it lowers, and operands as values."""

    def __init__(self, builder: Builder) -> None:
        """Lower into ``builder``."""
        self.builder = builder
        self.node: Node

    @property
    def name(self) -> str:
        """The name of the node that is being lowered."""
        return self.node.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The static shape of its result."""
        return tuple(self.node.meta["val"].shape)

    @property
    def is_float(self) -> bool:
        """Whether its result is floating point."""
        return bool(self.node.meta["val"].dtype.is_floating_point)

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


def lower_graph(exported: Program, builder: Builder, inputs: Mapping[str, int], prefix: str) -> list[Value]:
    """Lower every node; returns the values of the graph's outputs.

    Args:
        exported: a program traced without decomposition, all shapes static.
        builder: receives the operations.
        inputs: MIL data type by input name, in the order of the traced function's arguments.
        prefix: what the wrapper put before the checkpoint's own parameter names.

    Raises:
        UserError: an operation that has no lowering; it is named, with the place in the model it comes from.
    """
    context = Context(builder)
    operands: dict[Node, Operand] = {}
    specs = {spec.arg.name: spec for spec in exported.graph_signature.input_specs}
    names = iter(inputs.items())
    outputs: list[Value] = []
    for node in exported.graph.nodes:
        context.node = node
        if node.op == "placeholder":
            spec = specs[node.name]
            if spec.kind is InputKind.USER_INPUT:
                name, dtype = next(names)
                operands[node] = builder.input(name, context.shape, dtype)
            else:
                operands[node] = Weight(str(spec.target).removeprefix(prefix), context.shape)
        elif node.op == "call_function":
            if str(node.target) not in _SKIPPED:
                operands[node] = _lower_node(context, node, operands)
        elif node.op == "output":
            outputs = [operands[result] for result in node.args[0]]
    return outputs


def _lower_node(context: Context, node: Node, operands: Mapping[Node, Operand]) -> Operand:
    target = str(node.target)
    arguments = [_resolve(argument, operands) for argument in node.args]
    keywords = {key: _resolve(argument, operands) for key, argument in node.kwargs.items()}
    if target == "<built-in function getitem>":
        return arguments[0][arguments[1]]
    if _is_constant(arguments) and _is_constant(list(keywords.values())) and "val" in node.meta:
        folded = _fold(node, arguments, keywords)
        if folded is not None:
            return folded
    if target in _FOLDED and _is_known(arguments):
        return Folded(node.name, tuple(node.meta["val"].shape), _promise(node, arguments))
    lower = LOWERINGS.get(target)
    if lower is None:
        raise SourceError(
            f"convert: no lowering for {target} (node {node.name}); the model uses an operation sdbuild does not know"
        )
    return lower(context, *arguments, **keywords)


def _resolve(argument: Any, operands: Mapping[Node, Operand]) -> Any:
    if isinstance(argument, Node):
        return operands[argument]
    if isinstance(argument, (list, tuple)):
        return [_resolve(item, operands) for item in argument]
    return argument


def _is_constant(operand: Any) -> bool:
    if isinstance(operand, list):
        return all(_is_constant(item) for item in operand)
    return not isinstance(operand, (Value, Weight, Folded))


def _is_known(operand: Any) -> bool:
    """Known once the weights are."""
    return all(_is_known(item) for item in operand) if isinstance(operand, list) else not isinstance(operand, Value)


def _promise(node: Node, arguments: list[Any]) -> Callable[[LoadWeight], Array]:
    """What computes a node of weights and constants, once weights can be loaded."""

    def read(argument: Any, load: LoadWeight) -> Any:
        if isinstance(argument, Weight):
            return torch.from_numpy(read_weight(argument, load)).float()
        if isinstance(argument, Folded):
            return torch.from_numpy(argument.compute(load))
        return [read(item, load) for item in argument] if isinstance(argument, list) else _to_torch(argument)

    def compute(load: LoadWeight) -> Array:
        array: Array = node.target(*[read(argument, load) for argument in arguments]).numpy()  # type: ignore[operator]
        return array

    return compute


def _fold(node: Node, arguments: list[Any], keywords: dict[str, Any]) -> Array | None:
    """Compute a node of known arguments with torch on the CPU; None where it is another's affair or the result is large."""
    value, target = node.meta["val"], str(node.target)
    if target not in LOWERINGS and target.split(".")[1] not in _COMPUTED:
        return None
    if not isinstance(value, torch.Tensor) or value.numel() > _FOLD_LIMIT:
        return None
    result = node.target(*[_to_torch(a) for a in arguments], **{k: _to_torch(a) for k, a in keywords.items()})  # type: ignore[operator]
    array: Array = result.numpy()
    return array


def _to_torch(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return torch.from_numpy(argument)
    if isinstance(argument, torch.device):  # traced on the meta device, computed on the CPU
        return torch.device("cpu")
    if isinstance(argument, list):
        return [_to_torch(item) for item in argument]
    return argument


def mil_type(dtype: torch.dtype, float_type: int) -> int:
    """The MIL type that stands for a torch type: every float is the program's float, every integer int32."""
    if dtype.is_floating_point:
        return float_type
    kind: int = BOOL if dtype is torch.bool else INT32
    return kind
