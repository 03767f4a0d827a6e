"""Operations that move, make, reduce and pick values, against coremltools' inference, torch or plain loops."""

import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbuild.coreml.runtime import ModelError
from tests.coreml.runtime.support import (
    IOS16,
    IOS17,
    IOS18,
    Array,
    assert_close,
    assert_inferred,
    drawn,
    floats,
    inferred,
    integers,
    mb,
    run,
)

X = floats([2, 3, 4, 5], 1)


@pytest.mark.parametrize("shape", [[6, 20], [2, 3, -1], [0, -1, 5, 1], [0, 0, 20, 1], [-1]])
def test_reshape(shape: list[int]) -> None:
    assert_inferred(lambda x: mb.reshape(x=x, shape=shape), {"x": X})


@pytest.mark.parametrize("shape", [[1, 0, -1, 0], [0, 0, -1, 1, 0]])
def test_reshape_counts_zeros_from_the_right_since_ios17(shape: list[int]) -> None:
    assert_inferred(lambda x: mb.reshape(x=x, shape=shape), {"x": floats([2, 50])}, IOS17)


def test_reshape_to_a_shape_computed_at_run_time() -> None:
    def flatten(x: Any) -> Any:
        size = mb.shape(x=x)
        front, back = mb.slice_by_size(x=size, begin=[0], size=[2]), mb.slice_by_size(x=size, begin=[2], size=[2])
        rows = mb.reduce_prod(x=front, axes=[0], keep_dims=True)
        columns = mb.reduce_prod(x=back, axes=[0], keep_dims=True)
        return mb.reshape(x=x, shape=mb.concat(values=[rows, columns], axis=0))

    assert_close(run(flatten, {"x": X}), [X.reshape(6, 20)])


def test_reshape_like() -> None:
    refs = {"a": floats([2, 3, 9]), "b": floats([7, 4, 5])}
    actual = run(
        lambda x, a, b: mb.reshape_like(x=x, ref_tensors=(a, b), begins=(0, 1), ends=(2, 0), end_masks=(False, True)),
        {"x": X.reshape(-1), **refs},
    )
    assert_close(actual, [X])


@given(st.permutations(range(4)), st.booleans())
@drawn
def test_transpose(perm: list[int], negative: bool) -> None:
    perm = [axis - 4 for axis in perm] if negative else perm
    assert_inferred(lambda x: mb.transpose(x=x, perm=perm), {"x": X})


@pytest.mark.parametrize("axes", [[0], [-1], [1, 3], [-3, 0]])
def test_expand_dims(axes: list[int]) -> None:
    assert_inferred(lambda x: mb.expand_dims(x=x, axes=axes), {"x": floats([2, 3])})


@pytest.mark.parametrize("axes", [[0], [-1], [0, 2], None])
def test_squeeze(axes: list[int] | None) -> None:
    extra = {} if axes is None else {"axes": axes}
    assert_inferred(lambda x: mb.squeeze(x=x, **extra), {"x": floats([1, 3, 1, 2, 1])})


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_flatten2d(axis: int) -> None:
    assert_inferred(lambda x: mb.flatten2d(x=x, axis=axis), {"x": X})


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_joining_and_splitting(axis: int) -> None:
    parts = {"a": floats([2, 4, 6], 1), "b": floats([2, 4, 6], 2)}
    assert_inferred(lambda a, b: mb.concat(values=(a, b), axis=axis), parts)
    assert_inferred(lambda a, b: mb.stack(values=(a, b), axis=axis), parts)
    assert_inferred(lambda a: mb.split(x=a, num_splits=2, axis=axis), {"a": parts["a"]})
    sizes = [1, parts["a"].shape[axis] - 1]
    assert_inferred(lambda a: mb.split(x=a, split_sizes=sizes, axis=axis), {"a": parts["a"]})
    mixed = run(lambda a, b: mb.concat(values=(a, b), axis=axis, interleave=True), parts)
    expected = np.stack([parts["a"], parts["b"]], axis % 3 + 1)
    assert_close(mixed, [expected.reshape(np.concatenate([parts["a"], parts["b"]], axis).shape)])


@given(st.lists(st.integers(1, 3), min_size=4, max_size=4))
@drawn
def test_tile(reps: list[int]) -> None:
    assert_inferred(lambda x: mb.tile(x=x, reps=reps), {"x": X})


@pytest.mark.parametrize("reps", [[1, 1, 0, 1], [1, 1, 1, -1]])
def test_tile_repeats_at_least_once(reps: list[int]) -> None:
    with pytest.raises(ModelError, match=re.escape(f"{reps} repetitions; each must be 1 or more")):
        run(lambda x, reps: mb.tile(x=x, reps=reps), {"x": X, "reps": np.array(reps, np.int32)})


@pytest.mark.parametrize("axes", [[0], [-1, 1], None])
def test_reverse(axes: list[int] | None) -> None:
    extra = {} if axes is None else {"axes": axes}
    assert_inferred(lambda x: mb.reverse(x=x, **extra), {"x": X})


@pytest.mark.parametrize(("sequence", "batch"), [(1, 0), (0, 1), (2, 0)])
def test_reverse_sequence(sequence: int, batch: int) -> None:
    x = floats([3, 4, 5])
    lengths = np.array([2, 0, 3, 1][: x.shape[batch]], np.int32)
    expected = x.copy()
    for i, length in enumerate(lengths):
        part = np.moveaxis(expected, (batch, sequence), (0, 1))[i]
        part[:length] = part[:length][::-1].copy()
    actual = run(
        lambda x, n: mb.reverse_sequence(x=x, lengths=n, seq_axis=sequence, batch_axis=batch), {"x": x, "n": lengths}
    )
    assert_close(actual, [expected])


@st.composite
def slices(draw: st.DrawFn) -> dict[str, list[Any]]:
    """A slice of X that is not empty, in the parameters of ``slice_by_index``."""
    begin, end, stride, masks = [], [], [], {name: [] for name in ("begin_mask", "end_mask", "squeeze_mask")}
    for size in X.shape:
        first, last = sorted((draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))))
        step = draw(st.sampled_from([1, 1, 2, -1]))
        start, stop = (first, last + 1) if step > 0 else (last, first - 1)
        begin.append(start - size if draw(st.booleans()) else start)
        end.append(stop - size if stop != size and stop >= 0 and draw(st.booleans()) else stop)
        stride.append(step)
        masks["begin_mask"].append(draw(st.booleans()))
        masks["end_mask"].append((step < 0 and stop < 0) or draw(st.booleans()))
        masks["squeeze_mask"].append(draw(st.integers(0, 3)) == 0)
        if masks["squeeze_mask"][-1]:
            masks["begin_mask"][-1] = masks["end_mask"][-1] = False
            stride[-1] = 1
            end[-1] = begin[-1] + 1 if begin[-1] != -1 else size
    if all(masks["squeeze_mask"]):
        masks["squeeze_mask"][0] = False
    return {"begin": begin, "end": end, "stride": stride, **masks}


@given(slices(), st.booleans())
@settings(drawn, max_examples=25)
def test_slice_by_index(part: dict[str, list[Any]], at_run_time: bool) -> None:
    expected = inferred(lambda x: mb.slice_by_index(x=x, **part), {"x": X})
    if not at_run_time:
        assert_close(run(lambda x: mb.slice_by_index(x=x, **part), {"x": X}), expected)
        return
    rest = {name: value for name, value in part.items() if name not in ("begin", "end")}
    inputs = {"x": X, "b": np.array(part["begin"], np.int32), "e": np.array(part["end"], np.int32)}
    assert_close(run(lambda x, b, e: mb.slice_by_index(x=x, begin=b, end=e, **rest), inputs), expected)


def test_slice_by_size() -> None:
    assert_inferred(lambda x: mb.slice_by_size(x=x, begin=[0, 1, -3, 2], size=[2, -1, 2, 1]), {"x": X})


def test_slice_update() -> None:
    part = {
        "begin": [0, 1, 0, -2],
        "end": [2, 3, 4, 5],
        "stride": [1, 1, 2, 1],
        "end_mask": [True, False, False, False],
    }
    inputs = {"x": X, "u": floats([2, 2, 2, 2], 9)}
    assert_inferred(lambda x, u: mb.slice_update(x=x, update=u, **part), inputs, IOS18)


@given(st.sampled_from(["constant", "reflect", "replicate"]), st.lists(st.integers(0, 1), min_size=2, max_size=8))
@settings(drawn, max_examples=10)
def test_pad(mode: str, amounts: list[int]) -> None:
    amounts = amounts[: len(amounts) // 2 * 2]
    assert_inferred(lambda x: mb.pad(x=x, pad=amounts, mode=mode, constant_val=np.float32(1.5)), {"x": X})


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_pad_far(mode: str) -> None:
    assert_inferred(lambda x: mb.pad(x=x, pad=[2, 3, 4, 1], mode=mode, constant_val=np.float32(0)), {"x": X})


def test_space_and_depth() -> None:
    x = floats([2, 8, 4, 6], 1)
    shuffled = F.pixel_shuffle(torch.from_numpy(x), 2)
    assert_close(run(lambda x: mb.pixel_shuffle(x=x, upscale_factor=2), {"x": x}), [shuffled.numpy()])
    back = run(lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)), {"x": shuffled.numpy()})
    assert_close(back, [x])
    # TensorFlow's order: the block's position varies slowest in the channels.
    space = np.empty((2, 2, 8, 12), np.float32)
    for row in range(2):
        for column in range(2):
            space[:, :, row::2, column::2] = x[:, (row * 2 + column) * 2 : (row * 2 + column) * 2 + 2]
    assert_close(run(lambda x: mb.depth_to_space(x=x, block_size=2), {"x": x}), [space])
    assert_close(run(lambda x: mb.space_to_depth(x=x, block_size=2), {"x": space}), [x])


def test_space_and_batch() -> None:
    x = floats([2, 3, 4, 6], 1)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 3)])
    parts = [padded[:, :, row::2, column::3] for row in range(2) for column in range(3)]
    there = np.concatenate(parts)
    actual = run(lambda x: mb.space_to_batch(x=x, block_shape=[2, 3], paddings=[[1, 1], [0, 3]]), {"x": x})
    assert_close(actual, [there])
    back = run(lambda x: mb.batch_to_space(x=x, block_shape=[2, 3], crops=[[1, 1], [0, 3]]), {"x": there})
    assert_close(back, [x])


@pytest.mark.parametrize(("axis", "size", "stride"), [(0, 2, 1), (1, 2, 1), (-1, 3, 2), (2, 2, 2)])
def test_sliding_windows(axis: int, size: int, stride: int) -> None:
    count = (X.shape[axis] - size) // stride + 1
    windows = [np.take(X, range(i * stride, i * stride + size), axis) for i in range(count)]
    actual = run(lambda x: mb.sliding_windows(x=x, axis=axis, size=size, stride=stride), {"x": X})
    assert_close(actual, [np.stack(windows, axis % 4)])


def test_making_tensors() -> None:
    sized = np.array([2, 3], np.int32)
    assert_close(run(lambda n: mb.fill(shape=n, value=np.float32(1.5)), {"n": sized}), [np.full((2, 3), 1.5)])
    assert_inferred(lambda x: mb.fill_like(ref_tensor=x, value=2), {"x": X})
    ends = {"a": np.array(3, np.int32), "b": np.array(11, np.int32), "s": np.array(2, np.int32)}
    assert_inferred(lambda a, b, s: mb.range_1d(start=a, end=b, step=s), ends)
    assert_inferred(lambda x: mb.shape(x=x), {"x": X})
    assert_close(run(lambda x: mb.non_zero(x=x), {"x": np.round(X)}), [np.argwhere(np.round(X))])


@pytest.mark.parametrize(("lower", "upper"), [(0, -1), (-1, 0), (0, 0), (1, 2), (-1, -1)])
def test_band_part(lower: int, upper: int) -> None:
    assert_inferred(lambda x: mb.band_part(x=x, lower=lower, upper=upper), {"x": X})


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    indices = integers([2, 3], 1, 0, 4)
    expected = np.moveaxis(np.where(indices[..., None] == np.arange(5), 3, 1), -1, axis)
    actual = run(
        lambda i: mb.one_hot(indices=i, one_hot_vector_size=5, axis=axis, on_value=3, off_value=1), {"i": indices}
    )
    assert_close(actual, [expected])


REDUCTIONS = "l1_norm l2_norm log_sum log_sum_exp max mean min prod sum sum_square"


@pytest.mark.parametrize("name", REDUCTIONS.split())
@given(st.sampled_from([[0], [-1], [1, 3], [-2, 0], [0, 1, 2, 3]]), st.booleans())
@drawn
def test_reductions(name: str, axes: list[int], keep: bool) -> None:
    x = np.abs(X) + 0.1 if name == "log_sum" else X
    if len(axes) == 4 and not keep:
        axes = axes[:3]
    assert_inferred(lambda x: getattr(mb, f"reduce_{name}")(x=x, axes=axes, keep_dims=keep), {"x": x})


def test_reductions_of_all_axes_and_of_integers() -> None:
    assert_inferred(lambda x: mb.reduce_sum(x=x, keep_dims=True), {"x": X})
    x = integers([3, 4])
    for name in ("max", "min", "sum", "prod"):
        assert_inferred(lambda x, name=name: getattr(mb, f"reduce_{name}")(x=x, axes=[1], keep_dims=False), {"x": x})


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("keep", [True, False])
def test_arg_reductions(axis: int, keep: bool) -> None:
    for name in ("reduce_argmax", "reduce_argmin"):
        assert_inferred(lambda x, name=name: getattr(mb, name)(x=x, axis=axis, keep_dims=keep), {"x": X})


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("axis", [0, -1])
def test_sorting(axis: int, ascending: bool) -> None:
    extra = {"axis": axis, "ascending": ascending}
    assert_inferred(lambda x: mb.argsort(x=x, **extra), {"x": X})
    assert_inferred(lambda x: mb.topk(x=x, k=2, **extra), {"x": X})
    assert_inferred(lambda x: mb.topk(x=x, k=2, return_indices=False, **extra), {"x": X}, IOS16)


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("reverse", [True, False])
def test_cumsum(axis: int, reverse: bool) -> None:
    assert_inferred(lambda x: mb.cumsum(x=x, axis=axis, reverse=reverse), {"x": X})
    total = np.cumsum(np.flip(X, axis) if reverse else X, axis)
    shifted = np.concatenate([np.zeros_like(np.take(total, [0], axis)), np.delete(total, -1, axis)], axis)
    expected = np.flip(shifted, axis) if reverse else shifted
    assert_close(run(lambda x: mb.cumsum(x=x, axis=axis, reverse=reverse, exclusive=True), {"x": X}), [expected])


@pytest.mark.parametrize("shape", [[], [4], [2, 3]])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", [IOS16, IOS17], ids=["ios16", "ios17"])
def test_gather(shape: list[int], axis: int, opset: Any) -> None:
    indices = integers(shape, 3, 0 if opset is IOS17 else -2, 1)
    assert_inferred(lambda x, i: mb.gather(x=x, indices=i, axis=axis), {"x": X, "i": indices}, opset)


VECTOR, SCALAR = floats([5], 3), np.array(1.5, np.float32)
AT = np.array(2, np.int32)
SCALARS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "gather": (lambda x, i: mb.gather(x=x, indices=i, axis=0), {"x": VECTOR, "i": AT}, VECTOR[2]),
    "gather of a shape": (lambda x: mb.gather(x=mb.shape(x=x), indices=np.int32(-1), axis=0), {"x": X}, np.int32(5)),
    "gather_nd": (lambda x, i: mb.gather_nd(x=x, indices=i), {"x": VECTOR, "i": AT.reshape(1)}, VECTOR[2]),
    "scatter": (
        lambda x, i, u: mb.scatter(data=x, indices=i, updates=u, axis=0, mode="update"),
        {"x": VECTOR, "i": AT, "u": SCALAR},
        np.array([*VECTOR[:2], 1.5, *VECTOR[3:]]),
    ),
    "slice_by_index": (
        lambda x: mb.slice_by_index(x=x, begin=[1], end=[2], squeeze_mask=[True]),
        {"x": VECTOR},
        VECTOR[1],
    ),
    "squeeze": (lambda x: mb.squeeze(x=x), {"x": SCALAR.reshape(1)}, SCALAR),
    "expand_dims": (lambda x: mb.expand_dims(x=x, axes=[0, 1]), {"x": SCALAR}, SCALAR.reshape(1, 1)),
    "reshape": (lambda x: mb.reshape(x=x, shape=[1, 1]), {"x": SCALAR}, SCALAR.reshape(1, 1)),
    "concat": (lambda x: mb.concat(values=(x, x), axis=0), {"x": SCALAR}, np.full(2, 1.5)),
    "stack": (lambda x: mb.stack(values=(x, x), axis=0), {"x": SCALAR}, np.full(2, 1.5)),
    "reduce_sum": (lambda x: mb.reduce_sum(x=x, axes=[0]), {"x": VECTOR}, VECTOR.sum()),
    "reduce_argmax": (lambda x: mb.reduce_argmax(x=x, axis=0), {"x": VECTOR}, VECTOR.argmax()),
    "range_1d": (lambda n: mb.range_1d(start=0, end=n, step=1), {"n": AT}, np.arange(2)),
    "fill": (lambda n: mb.fill(shape=mb.expand_dims(x=n, axes=[0]), value=3.0), {"n": AT}, np.full(2, 3.0)),
    "one_hot": (lambda n: mb.one_hot(indices=n, one_hot_vector_size=4), {"n": AT}, np.eye(4)[2]),
    "select": (lambda x: mb.select(cond=mb.greater(x=x, y=x), a=x, b=mb.exp(x=x)), {"x": SCALAR}, np.exp(SCALAR)),
    "reshape to what a gather finds": (
        lambda x: mb.reshape(x=x, shape=mb.stack(values=(mb.gather(x=mb.shape(x=x), indices=0), -1), axis=0)),
        {"x": X},
        X.reshape(2, -1),
    ),
}
"""Operations that take or make tensors of no dimensions, as coremltools writes them for dynamic sizes."""


@pytest.mark.parametrize("name", SCALARS)
def test_scalars(name: str) -> None:
    body, inputs, expected = SCALARS[name]
    assert_close(run(body, inputs), [expected])


@pytest.mark.parametrize(("axis", "batch"), [(1, 1), (2, 1), (2, 2), (3, 1)])
def test_gather_in_batches(axis: int, batch: int) -> None:
    indices = integers([*X.shape[:batch], 2, 3], 3, 0, 1)
    assert_inferred(lambda x, i: mb.gather(x=x, indices=i, axis=axis, batch_dims=batch), {"x": X, "i": indices}, IOS16)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_along_axis(axis: int) -> None:
    shape = list(X.shape)
    shape[axis] = 3
    inputs = {"x": X, "i": integers(shape, 3, 0, X.shape[axis] - 1)}
    assert_inferred(lambda x, i: mb.gather_along_axis(x=x, indices=i, axis=axis), inputs)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gather_nd(depth: int) -> None:
    indices = integers([3, 2, depth], 3, 0, 1)
    expected = np.stack([X[tuple(row)] for row in indices.reshape(-1, depth)]).reshape(3, 2, *X.shape[depth:])
    assert_close(run(lambda x, i: mb.gather_nd(x=x, indices=i), {"x": X, "i": indices}), [expected])


def test_gather_nd_in_batches() -> None:
    indices = integers([2, 4, 2], 3, 0, 2)
    expected = np.stack([[X[b][tuple(row)] for row in indices[b]] for b in range(2)])
    assert_close(run(lambda x, i: mb.gather_nd(x=x, indices=i, batch_dims=1), {"x": X, "i": indices}), [expected])


_COMBINE = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": np.maximum,
    "min": np.minimum,
}


@pytest.mark.parametrize("mode", list(_COMBINE))
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter(mode: str, axis: int) -> None:
    data, indices = floats([3, 4, 5], 1), np.array([1, 0, 1] if mode != "update" else [1, 0, 2], np.int32)
    shape = list(data.shape)
    shape[axis] = 3
    updates = floats(shape, 2, 0.5, 2)
    expected = data.copy()
    turned, new = np.moveaxis(expected, axis, 0), np.moveaxis(updates, axis, 0)
    for i, index in enumerate(indices):
        turned[index] = _COMBINE[mode](turned[index], new[i])
    actual = run(
        lambda d, i, u: mb.scatter(data=d, indices=i, updates=u, axis=axis, mode=mode),
        {"d": data, "i": indices, "u": updates},
    )
    assert_close(actual, [expected])


@pytest.mark.parametrize("mode", list(_COMBINE))
def test_scatter_along_axis(mode: str) -> None:
    data, updates = floats([3, 4], 1), floats([3, 2], 2, 0.5, 2)
    indices = np.array([[0, 3], [2, 1], [1, 0]], np.int32)
    expected = data.copy()
    for row, column in np.ndindex(3, 2):
        place = row, indices[row, column]
        expected[place] = _COMBINE[mode](expected[place], updates[row, column])
    actual = run(
        lambda d, i, u: mb.scatter_along_axis(data=d, indices=i, updates=u, axis=1, mode=mode),
        {"d": data, "i": indices, "u": updates},
    )
    assert_close(actual, [expected])


@pytest.mark.parametrize("mode", list(_COMBINE))
@pytest.mark.parametrize("depth", [1, 2])
def test_scatter_nd(mode: str, depth: int) -> None:
    data, indices = floats([3, 4, 5], 1), np.array([[1, 2], [0, 1], [2, 3]], np.int32)[:, :depth]
    updates = floats([3, *data.shape[depth:]], 2, 0.5, 2)
    expected = data.copy()
    for index, new in zip(indices, updates, strict=True):
        expected[tuple(index)] = _COMBINE[mode](expected[tuple(index)], new)
    actual = run(
        lambda d, i, u: mb.scatter_nd(data=d, indices=i, updates=u, mode=mode), {"d": data, "i": indices, "u": updates}
    )
    assert_close(actual, [expected])


def linear_samples(x: Array, axis: int, points: Array) -> Array:
    """``x`` interpolated linearly at ``points`` of an axis."""
    points = np.clip(points, 0, x.shape[axis] - 1)
    low = np.floor(points).astype(int)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    weight = (points - low).reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    return np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight


def documented_points(mode: str, size: int, target: int) -> Array:
    """The grid as the documentation of ``resize_bilinear`` states it."""
    steps = np.arange(target)
    if mode == "ALIGN_CORNERS" and target == 1:
        return np.array([(size - 1) / 2])
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        return steps * (size - 1) / (target - 1)
    if mode == "DEFAULT":
        return steps * ((size - size / target) / (target - 1) if target > 1 else 0)
    if mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / target
        return 0.5 * delta + steps * delta
    return steps * size / target + 0.5 * size / target - 0.5


@pytest.mark.parametrize(
    "mode", ["DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS"]
)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(3, 4))
@drawn
def test_resize_bilinear(mode: str, height: int, width: int, rank: int) -> None:
    x = X[0] if rank == 3 else X
    expected = linear_samples(x, -2, documented_points(mode, 4, height))
    expected = linear_samples(expected, -1, documented_points(mode, 5, width))
    sizes = {"target_size_height": height, "target_size_width": width}
    assert_close(run(lambda x: mb.resize_bilinear(x=x, sampling_mode=mode, **sizes), {"x": x}), [expected])
    shape = {"shape": [height, width], "resized_dims": np.uint32(2), "interpolation_mode": "LINEAR"}
    assert_close(run(lambda x: mb.resize(x=x, sampling_mode=mode, **shape), {"x": x}, IOS17), [expected])


@pytest.mark.parametrize("scale", [2, 3, 1.5])
def test_upsample(scale: float) -> None:
    x = torch.from_numpy(X)
    scales = {"scale_factor_height": scale, "scale_factor_width": scale}
    nearest = F.interpolate(x, [int(4 * scale), int(5 * scale)])
    assert_close(run(lambda x: mb.upsample_nearest_neighbor(x=x, **scales), {"x": X}), [nearest.numpy()])
    for corners in (True, False):
        smooth = F.interpolate(
            x, scale_factor=scale, mode="bilinear", align_corners=corners, recompute_scale_factor=True
        )
        actual = run(lambda x, c=corners: mb.upsample_bilinear(x=x, align_corners=c, **scales), {"x": X})
        assert_close(actual, [smooth.numpy()])


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_resize_nearest_neighbor(rank: int) -> None:
    x = X[(None,) * (rank - 4)] if rank > 4 else X[(0,) * (4 - rank)]
    rows, columns = np.arange(6) * 4 // 6, np.arange(7) * 5 // 7
    sizes = {"target_size_height": 6, "target_size_width": 7}
    actual = run(lambda x: mb.resize_nearest_neighbor(x=x, **sizes), {"x": x})
    assert_close(actual, [x[..., rows, :][..., columns]])


def test_crop() -> None:
    assert_close(run(lambda x: mb.crop(x=x, crop_height=[1, 0], crop_width=[2, 1]), {"x": X}), [X[:, :, 1:, 2:4]])


def sampled(x: Array, rows: Array, columns: Array, outside: float | None) -> Array:
    """[batch, channels, points] of an image at fractional places; beyond the edge it is ``outside``, or the edge's."""
    padded = np.pad(
        x, [(0, 0), (0, 0), (9, 9), (9, 9)], **({"mode": "edge"} if outside is None else {"constant_values": outside})
    )
    result = np.zeros((*x.shape[:2], rows.shape[1]))
    for batch, point in np.ndindex(rows.shape):
        row, column = rows[batch, point] + 9, columns[batch, point] + 9
        top, left = int(np.floor(row)), int(np.floor(column))
        for y, x_ in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            weight = (1 - abs(row - y)) * (1 - abs(column - x_))
            result[batch, :, point] += weight * padded[batch, :, y, x_]
    return result


@pytest.mark.parametrize("padding", ["constant", "border"])
@pytest.mark.parametrize(
    ("mode", "align"),
    [("unnormalized", True), ("normalized_minus_one_to_one", False), ("normalized_zero_to_one", True)],
)
def test_resample(padding: str, mode: str, align: bool) -> None:
    columns, rows = floats([2, 7], 1, -2, 6), floats([2, 7], 2, -2, 5)  # of an image of 4 rows and 5 columns
    expected = sampled(X, rows, columns, 0.5 if padding == "constant" else None)

    def normalized(place: Array, size: int) -> Array:
        if mode == "unnormalized":
            return place
        if mode == "normalized_zero_to_one":
            return place / (size - 1)
        return (2 * place + 1) / size - 1

    grid = np.stack([normalized(columns, 5), normalized(rows, 4)], -1)[:, None].astype(np.float32)
    options = {
        "sampling_mode": "bilinear",
        "padding_mode": padding,
        "padding_value": np.float32(0.5),
        "coordinates_mode": mode,
        "align_corners": align,
    }
    actual = run(lambda x, g: mb.resample(x=x, coordinates=g, **options), {"x": X, "g": grid})
    assert_close(actual, [expected[:, :, None]])


def test_affine() -> None:
    matrix = np.array([[0.5, 0.1, 0.2, -0.2, 0.7, 0.1]], np.float32)
    height, width = 3, 6
    ys, xs = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    a, b = matrix[0, :3], matrix[0, 3:]
    columns, rows = a[0] * xs + a[1] * ys + a[2], b[0] * xs + b[1] * ys + b[2]
    columns, rows = (
        (np.tile(each.reshape(1, -1), (2, 1)) + 1) / 2 * (size - 1) for each, size in ((columns, 5), (rows, 4))
    )
    options = {
        "output_height": height,
        "output_width": width,
        "sampling_mode": "bilinear",
        "padding_mode": "constant",
        "padding_value": np.float32(0),
        "coordinates_mode": "normalized_minus_one_to_one",
        "align_corners": True,
    }
    actual = run(lambda x, m: mb.affine(x=x, transform_matrix=m, **options), {"x": X, "m": matrix})
    assert_close(actual, [sampled(X, rows, columns, 0.0).reshape(2, 3, height, width)])
