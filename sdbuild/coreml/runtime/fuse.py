"""Recognise layers that programs spell out in small operations, and put one fused operation in their place.

MIL has no group normalisation, and attention below iOS 18 is written as matrix products around a softmax; torch has fast
kernels for both. The fused operation computes the same function of the same values, without the roundings in between, so
this is done only where those are not wanted. What the fused one no longer needs is left to be dropped as unused.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.program import Argument, Block, Function, Immediate, Operation, TensorType

_Match = Callable[["_Graph", Operation], dict[str, list[Argument]] | None]

_EINSUM = "abcd,adce->abce"


def fuse(function: Function) -> Function:
    """The function with fused operations: group normalisation, attention, one head of an attention, all of its heads."""
    _fuse(function.block, None)
    return function


def _fuse(block: Block, outer: "_Graph | None") -> None:
    graph = _Graph(block, outer)
    for position, operation in enumerate(block.operations):
        for nested in operation.blocks:
            _fuse(nested, graph)
        for name, match in _MATCHES.items():
            try:
                inputs = match(graph, operation)
            except (KeyError, IndexError, ValueError):
                continue  # an operation that lacks something: the compiler says what
            if inputs is not None:
                block.operations[position] = graph.replace(operation, name, inputs)
                break


class _Graph:
    """Who makes a value, and what is known of it."""

    def __init__(self, block: Block, outer: "_Graph | None") -> None:
        self._makers: dict[str, Operation] = dict(outer._makers) if outer else {}
        self._types: dict[str, TensorType] = dict(outer._types) if outer else {}
        for value in block.inputs:
            self._makers.pop(value.name, None)
            self._types[value.name] = value.type
        for each in block.operations:
            self._makers.update((output.name, each) for output in each.outputs)
            self._types.update((output.name, output.type) for output in each.outputs)
        self._fused: dict[str, Operation] = {}

    def replace(self, operation: Operation, name: str, inputs: dict[str, list[Argument]]) -> Operation:
        """The fused operation that makes what another made."""
        fused = Operation(name, operation.index, inputs, {}, operation.outputs)
        self._fused.update((output.name, fused) for output in operation.outputs)
        return fused

    def fused(self, argument: Argument, kind: str) -> Operation | None:
        """The fused operation that makes a value, if it is of that kind."""
        found = self._fused.get(argument) if isinstance(argument, str) else None
        return found if found is not None and found.type == kind else None

    def parts(self, arguments: Sequence[Argument], axis: int) -> Argument | None:
        """The value that these are the equal parts of, all of them and in order, along an axis; None if they are not."""
        split = self.made(arguments[0], "split")
        if split is None or self.number(split, "axis") != axis:
            return None
        made = [output.name for output in split.outputs]
        equal = len({output.type for output in split.outputs}) == 1
        return split.inputs["x"][0] if equal and made == list(arguments) else None

    def joined(self, argument: Argument | None, axis: int) -> list[Argument] | None:
        """The values that one is made of, one after the other along an axis; None if it is not made so."""
        concat = self.made(argument, "concat")
        if concat is None or self.number(concat, "axis") != axis or self.flag(concat, "interleave"):
            return None
        return concat.inputs["values"]

    def maker(self, operation: Operation, parameter: str, kind: str) -> Operation | None:
        """The operation that makes an argument of another, if it is of that kind."""
        return self.made(operation.inputs.get(parameter, [None])[0], kind)

    def made(self, argument: Argument | None, kind: str) -> Operation | None:
        """The operation that makes a value, if it is of that kind."""
        found = self._makers.get(argument) if isinstance(argument, str) else None
        return found if found is not None and found.type == kind else None

    def shape(self, argument: Argument) -> tuple[int | None, ...]:
        return self._types[argument].shape if isinstance(argument, str) else argument.type.shape

    def value(self, operation: Operation, parameter: str) -> Array | str | None:
        """An argument written in the program, else None."""
        argument = operation.inputs.get(parameter, [None])[0]
        if isinstance(argument, str):
            maker = self._makers.get(argument)
            argument = maker.attributes.get("val") if maker is not None and maker.type == "const" else None
        return argument.value if isinstance(argument, Immediate) else None

    def number(self, operation: Operation, parameter: str) -> float | None:
        """An argument that is one number written in the program."""
        value = self.value(operation, parameter)
        return float(value.reshape(())) if isinstance(value, np.ndarray) and value.size == 1 else None

    def flag(self, operation: Operation, parameter: str) -> bool:
        return bool(self.number(operation, parameter) or 0)

    def with_number(self, operation: Operation) -> tuple[Argument, float] | None:
        """The arguments x and y of an operation, in any order, where one of them is a number in the program."""
        for one, other in (("x", "y"), ("y", "x")):
            number = self.number(operation, other)
            if number is not None:
                return operation.inputs[one][0], number
        return None


def _constant(value: float | bool) -> list[Argument]:
    array = np.array(value)
    name = "bool" if array.dtype == np.bool_ else "fp32"
    return [Immediate(TensorType(name, ()), array if name == "bool" else array.astype(np.float32))]


def _group_norm(graph: _Graph, last: Operation) -> dict[str, list[Argument]] | None:
    """reshape(centred / sqrt(mean(centred²) + ε)), centred = grouped − mean(grouped), grouped = reshape(x)."""
    normal = graph.maker(last, "x", "real_div") if last.type == "reshape" else None
    deviation = normal and graph.maker(normal, "y", "sqrt")
    safe = deviation and graph.maker(deviation, "x", "add")
    centred = normal and graph.maker(normal, "x", "sub")
    mean = centred and graph.maker(centred, "y", "reduce_mean")
    if not (normal and safe and centred and mean):
        return None
    epsilon = graph.number(safe, "y")
    variance = graph.maker(safe, "x", "reduce_mean")
    squared = variance and graph.maker(variance, "x", "square")
    grouped = graph.maker(centred, "x", "reshape")
    if not (variance and squared and grouped and epsilon is not None):
        return None
    source = grouped.inputs["x"][0]
    outer, inner = graph.shape(source), grouped.outputs[0].type.shape
    axes = list(range(2, len(inner)))
    same = (
        squared.inputs["x"] == [centred.outputs[0].name]
        and mean.inputs["x"] == centred.inputs["x"]
        and all(_reduces(graph, each, axes, len(inner)) for each in (mean, variance))
    )
    static = None not in (*outer, *inner) and outer == last.outputs[0].type.shape and len(outer) > 2
    if not (same and static and outer[0] == inner[0] and outer[2:] == inner[3:]):
        return None
    return {"x": [source], "groups": _constant(float(inner[1] or 0)), "epsilon": _constant(epsilon)}


def _reduces(graph: _Graph, operation: Operation, axes: list[int], rank: int) -> bool:
    given = graph.value(operation, "axes")
    return (
        isinstance(given, np.ndarray)
        and sorted(int(axis) % rank for axis in given.reshape(-1)) == axes
        and graph.flag(operation, "keep_dims")
    )


def _affine_group_norm(graph: _Graph, last: Operation) -> dict[str, list[Argument]] | None:
    """A group normalisation followed by ``batch_norm`` of mean 0 and variance 1, which scales by channel."""
    flat = graph.maker(last, "x", "reshape") if last.type == "batch_norm" else None
    inputs = flat and _group_norm(graph, flat)
    if not inputs or graph.number(last, "epsilon") != 0 or not {"gamma", "beta"} <= last.inputs.keys():
        return None
    return inputs | {name: last.inputs[name] for name in ("mean", "variance", "gamma", "beta")}


def _attention(graph: _Graph, last: Operation) -> dict[str, list[Argument]] | None:
    """softmax(q·kᵀ · scale + mask)·v, written as matrix products in any transposition."""
    if last.type != "matmul" or len(last.outputs[0].type.shape) != 4:
        return None
    weights = graph.maker(last, "x", "softmax")
    turned = weights is None
    weights = weights or graph.maker(last, "y", "softmax")
    if weights is None or graph.flag(last, "transpose_y" if turned else "transpose_x") != turned:
        return None
    axis = graph.number(weights, "axis")
    if axis not in (None, -1, 3):
        return None
    scores: Argument = weights.inputs["x"][0]
    mask: list[Argument] = []
    scale = 1.0
    if (added := graph.made(scores, "add")) is not None:
        scores, mask = added.inputs["x"][0], added.inputs["y"]
    if (scaled := graph.made(scores, "mul")) is not None and (pair := graph.with_number(scaled)) is not None:
        scores, scale = pair
    product = graph.made(scores, "matmul")
    if product is None:
        return None
    query, key, value = product.inputs["x"], product.inputs["y"], last.inputs["x" if turned else "y"]
    if len({graph.shape(each[0])[:-2] for each in (query, key, value)}) != 1:
        return None
    return {
        "query": query,
        "key": key,
        "value": value,
        **({"mask": mask} if mask else {}),
        "scale": _constant(scale),
        "query_turned": _constant(graph.flag(product, "transpose_x")),
        "key_turned": _constant(not graph.flag(product, "transpose_y")),
        "value_turned": _constant(graph.flag(last, "transpose_x" if turned else "transpose_y") != turned),
        "turned": _constant(turned),
    }


def _split_attention(graph: _Graph, last: Operation) -> dict[str, list[Argument]] | None:
    """Attention with channels first, a head at a time: what the variants for the Neural Engine are made of.

    The scores are ``einsum(keys [n, key, h, d], queries [n, d, h, query])``, normalised along axis 1, and the result is
    ``einsum(values [n, d, h, key], weights)``; the einsum that MIL has is the one in `_EINSUM`.
    """
    if last.type != "einsum" or _letters(graph, last) != _EINSUM:
        return None
    value, normalised = last.inputs["values"]
    weights = graph.made(normalised, "softmax")
    if weights is None or graph.number(weights, "axis") != 1:
        return None
    scale, product = 1.0, graph.maker(weights, "x", "einsum")
    scaled = graph.maker(weights, "x", "mul")
    if scaled is not None and (pair := graph.with_number(scaled)) is not None:
        product, scale = graph.made(pair[0], "einsum"), pair[1]
    if product is None or _letters(graph, product) != _EINSUM:
        return None
    key, query = product.inputs["values"]
    if len({(graph.shape(each)[0], graph.shape(each)[2]) for each in (key, query, value)}) != 1:
        return None
    return {"query": [query], "key": [key], "value": [value], "scale": _constant(scale)}


def _heads(graph: _Graph, last: Operation) -> dict[str, list[Argument]] | None:
    """All heads of an attention that `_split_attention` found one by one, each maybe for some of the queries at a time.

    Query [n, heads * d, 1, query] and value [n, heads * d, 1, key] are split along axis 1, the key [n, key, 1, heads * d]
    along axis 3; the query of a head along axis 3 after that. A softmax is of one query of one head: nothing is computed
    otherwise than in parts.
    """
    heads = graph.joined(last.outputs[0].name, 1)
    if heads is None:
        return None
    rows = []
    for head in heads:
        row = [graph.fused(each, "fused_split_attention") for each in graph.joined(head, 3) or [head]]
        rows.append([each for each in row if each is not None])
        if not row or len(rows[-1]) < len(row):
            return None
    key = graph.parts([row[0].inputs["key"][0] for row in rows], 3)
    value = graph.parts([row[0].inputs["value"][0] for row in rows], 1)
    asked = [[each.inputs["query"][0] for each in row] for row in rows]
    whole = [row[0] if len(row) == 1 else graph.parts(row, 3) for row in asked]
    query = graph.parts([each for each in whole if each is not None], 1)
    if key is None or value is None or query is None:
        return None
    same = all(
        each.inputs["key"] == row[0].inputs["key"]
        and each.inputs["value"] == row[0].inputs["value"]
        and graph.number(each, "scale") == graph.number(rows[0][0], "scale")
        for row in rows
        for each in row
    )
    if not same or {graph.shape(each)[2] for each in (query, key, value)} != {1}:
        return None
    return {
        "query": [query],
        "key": [key],
        "value": [value],
        "scale": rows[0][0].inputs["scale"],
        "heads": _constant(float(len(heads))),
    }


def _letters(graph: _Graph, operation: Operation) -> str:
    """The equation of an einsum with its letters renamed in order of appearance."""
    names: dict[str, str] = {}
    return "".join(
        names.setdefault(each, chr(ord("a") + len(names))) if each.isalpha() else each
        for each in str(graph.value(operation, "equation"))
        if not each.isspace()
    )


_MATCHES: Mapping[str, _Match] = {
    "fused_group_norm_affine": _affine_group_norm,
    "fused_group_norm": _group_norm,
    "fused_attention": _attention,
    "fused_split_attention": _split_attention,
    "fused_heads": _heads,
}
