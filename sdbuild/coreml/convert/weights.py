"""Keep the promises of a program: write its weights to a file, one at a time, and what only their content tells.

As coremltools does, equal weights become one, and what multiplies by ones and adds zeros is dropped (the norms of a model
that was never trained).
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.blob import BlobType, BlobWriter
from sdbuild.coreml.convert.builder import (
    FLOAT16,
    FLOAT32,
    Builder,
    Folded,
    LoadHalf,
    LoadWeight,
    Value,
    Weight,
    set_immediate,
)
from sdbuild.coreml.mil import INLINE_LIMIT, shape_of
from sdbuild.coreml.package import WEIGHT_FILE
from sdbuild.errors import SourceError

_SHARED_SIZE = 100
"""Equal weights of as many elements are one, which all users name."""
_AHEAD = 32 << 20
"""Bytes of weights that may be read, or wait to be written, besides the one that is being written."""
_SAMPLES = 64
"""Elements by which unequal weights are told apart before all of them are compared."""
_BLOCK = 1 << 18
"""Elements that are looked at together, which stay in a processor's cache."""
_NUMPY = {FLOAT16: np.float16, FLOAT32: np.float32}
_BITS: dict[int, tuple[Any, int, int]] = {2: (np.uint16, 0x7FFF, 0x7C00), 4: (np.uint32, 0x7FFFFFFF, 0x7F800000)}
"""By the size of a float: the integers of that size, all bits but the sign, and infinity."""
_BLOB = {FLOAT16: BlobType.FLOAT16, FLOAT32: BlobType.FLOAT32}


def write_weights(
    builder: Builder,
    path: Path,
    load: LoadWeight,
    progress: Callable[[int, int], None],
    load_half: LoadHalf | None = None,
) -> None:
    """Write every promised weight of ``builder`` to ``path``, and complete its program.

    ``progress`` is called with (tensors done, tensors in all). ``load_half`` is asked first for what becomes float16.

    Raises:
        UserError: a weight of another shape than promised, or one that overflows the program's precision.
    """
    first: dict[tuple[int, tuple[int, ...], bytes], list[tuple[str, int]]] = {}
    twins: dict[str, str] = {}
    uniform: dict[str, float] = {}
    with BlobWriter(path) as writer:

        def keep(value: Value, proto: Any, flat: Array) -> None:
            if flat.size < INLINE_LIMIT:
                set_immediate(proto, value.dtype, flat)
                return
            data = flat.view(np.uint8)
            alike = first.setdefault((value.dtype, value.shape, _sample(flat)), []) if flat.size >= _SHARED_SIZE else []
            for twin, offset in alike:
                if writer.holds(offset, data):
                    twins[value.name] = twin
                    return
            proto.blobFileValue.fileName = WEIGHT_FILE
            proto.blobFileValue.offset = writer.add(_BLOB[value.dtype], flat.nbytes, [data])
            alike.append((value.name, proto.blobFileValue.offset))

        for done, (value, proto, flat) in enumerate(_materialised(builder.promises, load, load_half)):
            progress(done, len(builder.promises))
            if flat[0] in (0, 1) and (flat == flat[0]).all():
                uniform[value.name] = float(flat[0])  # to be kept if what it serves is
            else:
                keep(value, proto, flat)
        used = _drop_idle(builder.operations, builder.outputs, uniform)
        for value, proto, _ in builder.promises:
            if value.name in uniform and value.name in used:
                keep(value, proto, np.full(int(np.prod(value.shape)), uniform[value.name], _NUMPY[value.dtype]))
    progress(len(builder.promises), len(builder.promises))
    _rename(builder.operations, twins)
    _remove(builder.operations, lambda operation: operation.outputs[0].name in twins)


def _materialised(
    promises: Sequence[tuple[Value, Any, Any]], load: LoadWeight, load_half: LoadHalf | None
) -> Iterator[tuple[Value, Any, Array]]:
    """Every promised weight, flat, in the program's order; those that come next are read meanwhile."""
    waiting: deque[tuple[Value, Any, Future[Array]]] = deque()
    with ThreadPoolExecutor(1) as pool:
        try:
            for value, proto, source in promises:
                waiting.append((value, proto, pool.submit(_materialise, source, value.dtype, load, load_half)))
                while len(waiting) > 1 and sum(_bytes(each) for each, _, _ in waiting) > _AHEAD:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        finally:
            pool.shutdown(cancel_futures=True)


def _next(waiting: deque[tuple[Value, Any, Future[Array]]]) -> tuple[Value, Any, Array]:
    value, proto, read = waiting.popleft()
    return value, proto, read.result().reshape(-1)


def _bytes(value: Value) -> int:
    return prod(value.shape) * np.dtype(_NUMPY[value.dtype]).itemsize


def _sample(flat: Array) -> bytes:
    """The same for equal weights, and hardly ever for others."""
    return flat[:: max(1, flat.size // _SAMPLES)].tobytes()


def _drop_idle(operations: Any, outputs: Sequence[str], uniform: Mapping[str, float]) -> set[str]:
    """Drop operations that change nothing, and the constants that served them; returns the names still in use."""
    shapes = {output.name: shape_of(output.type) for operation in operations for output in operation.outputs}
    idle: dict[str, str] = {}
    for operation in operations:
        named = {key: argument.arguments[0].name for key, argument in operation.inputs.items() if argument.arguments}
        if operation.type == "batch_norm":
            changes = uniform.get(named["gamma"]) != 1 or uniform.get(named["beta"]) != 0
        elif operation.type in ("add", "mul"):
            changes = uniform.get(named["y"]) != (0 if operation.type == "add" else 1)
        else:
            continue
        name = operation.outputs[0].name
        if not changes and name not in outputs and shapes.get(named["x"]) == shapes[name]:
            idle[name] = idle.get(named["x"], named["x"])
    _rename(operations, idle)
    _remove(operations, lambda operation: operation.outputs[0].name in idle)
    used = {part.name for op in operations for argument in op.inputs.values() for part in argument.arguments}
    if idle:
        _remove(operations, lambda operation: operation.type == "const" and operation.outputs[0].name not in used)
    return used


def _rename(operations: Any, names: Mapping[str, str]) -> None:
    for operation in operations if names else ():
        for argument in operation.inputs.values():
            for part in argument.arguments:
                part.name = names.get(part.name, part.name)


def _remove(operations: Any, goes: Callable[[Any], bool]) -> None:
    for number in reversed([number for number, operation in enumerate(operations) if goes(operation)]):
        del operations[number]


def _is_finite(flat: Array) -> bool:
    """Whether no exponent has all its bits set: by integers, which is several times as fast for float16."""
    bits, unsigned, infinity = _BITS[flat.dtype.itemsize]
    whole = flat.view(bits)
    return all(
        int((whole[start : start + _BLOCK] & unsigned).max()) < infinity for start in range(0, flat.size, _BLOCK)
    )


def read_weight(weight: Weight, load: LoadWeight) -> Array:
    """The tensor of a weight, in its own shape there.

    Raises:
        UserError: a checkpoint of another model.
    """
    return _of_shape(load(weight.name), weight)


def _of_shape(loaded: Array, weight: Weight) -> Array:
    """Reshaping is allowed where only ones differ: a linear layer's matrix is a 1×1 convolution's kernel."""
    if [n for n in loaded.shape if n != 1] != [n for n in weight.shape if n != 1]:
        raise SourceError(
            f"weights: {weight.name} has shape {list(loaded.shape)}, the model's configuration says "
            f"{list(weight.shape)}; the weights and config.json are not of the same model"
        )
    return loaded


def _materialise(source: Weight | Folded | Array, dtype: int, load: LoadWeight, load_half: LoadHalf | None) -> Array:
    if isinstance(source, Weight):
        array, name = _read_scaled(source, dtype, load, load_half), source.name
    elif isinstance(source, Folded):
        array, name = source.compute(load), f"{source.name}, computed from weights,"
    else:
        array, name = source, "a constant"
    with np.errstate(over="ignore"):
        data: Array = np.ascontiguousarray(array, dtype=_NUMPY[dtype])
    if not _is_finite(data.reshape(-1)):
        # What was rounded while it was read may have been finite before.
        exact = load(source.name) if isinstance(source, Weight) else array
        why = "overflows float16" if np.isfinite(exact).all() else "holds infinities or NaNs"
        raise SourceError(
            f"weights: {name} {why}; the model would generate black images. Use other weights for this component"
        )
    return data


def _read_scaled(weight: Weight, dtype: int, load: LoadWeight, load_half: LoadHalf | None) -> Array:
    half = load_half(weight.name, weight.scale) if load_half is not None and dtype == FLOAT16 else None
    if half is not None:
        return _of_shape(half, weight)
    array = read_weight(weight, load)
    return array if weight.scale == 1 else array.astype(np.float32) * np.float32(weight.scale)
