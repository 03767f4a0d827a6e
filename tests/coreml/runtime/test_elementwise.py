"""Elementwise operations and activations against coremltools' inference of values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coreml.runtime.support import (
    IOS16,
    IOS17,
    Array,
    assert_close,
    assert_inferred,
    drawn,
    floats,
    integers,
    mb,
    run,
)

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)

UNARY = (
    "abs atan ceil cos cosh erf exp exp2 floor round sign sin sinh square tan tanh relu relu6 sigmoid softplus softsign"
)


@pytest.mark.parametrize("name", UNARY.split())
@given(shapes, st.integers(0, 99))
@drawn
def test_unary(name: str, shape: list[int], seed: int) -> None:
    x = floats(shape, seed, -3, 3)
    assert_inferred(lambda x: getattr(mb, name)(x=x), {"x": x})


@pytest.mark.parametrize("name", ["acos", "asin", "atanh", "sqrt"])
def test_unary_on_part_of_the_line(name: str) -> None:
    low = 0.01 if name == "sqrt" else -0.95
    assert_inferred(lambda x: getattr(mb, name)(x=x), {"x": floats([5, 3], 0, low, 0.95)})


def test_round_takes_halves_to_the_even_neighbour() -> None:
    assert_inferred(lambda x: mb.round(x=x), {"x": np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)})


BINARY = ["add", "sub", "mul", "real_div", "floor_div", "mod", "maximum", "minimum", "pow"]
COMPARE = ["equal", "not_equal", "greater", "greater_equal", "less", "less_equal"]


@st.composite
def broadcast(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two shapes that broadcast together."""
    full = draw(shapes)
    one, other = ([size if draw(st.booleans()) else 1 for size in full] for _ in range(2))
    return one, other[draw(st.integers(0, len(other) - 1)) :]


@pytest.mark.parametrize("name", BINARY + COMPARE)
@given(broadcast(), st.booleans())
@drawn
def test_binary(name: str, shape: tuple[list[int], list[int]], constant: bool) -> None:
    low = 0.2 if name == "pow" else -2
    x, y = floats(shape[0], 1, low), floats(shape[1], 2)
    if name in COMPARE:
        x, y = np.round(x), np.round(y)
    if constant:
        assert_inferred(lambda x: getattr(mb, name)(x=x, y=y), {"x": x})
    else:
        assert_inferred(lambda x, y: getattr(mb, name)(x=x, y=y), {"x": x, "y": y})


@pytest.mark.parametrize("name", ["add", "sub", "mul", "floor_div", "mod", "maximum", "minimum", *COMPARE])
def test_binary_on_integers(name: str) -> None:
    x, y = integers([4, 5], 1), integers([4, 5], 2, 1, 6) * np.where(integers([4, 5], 3) > 0, 1, -1).astype(np.int32)
    assert_inferred(lambda x, y: getattr(mb, name)(x=x, y=y), {"x": x, "y": y})


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logical(name: str) -> None:
    x, y = integers([4, 5], 1) > 0, integers([5], 2) > 0
    assert_inferred(lambda x, y: getattr(mb, name)(x=x, y=y), {"x": x, "y": y})


def test_logical_not() -> None:
    assert_inferred(lambda x: mb.logical_not(x=x), {"x": integers([9], 1) > 0})


@pytest.mark.parametrize("name", ["inverse", "log", "rsqrt"])
@pytest.mark.parametrize("epsilon", [None, 1e-3, 0.5])
def test_epsilon(name: str, epsilon: float | None) -> None:
    given_one = {} if epsilon is None else {"epsilon": np.float32(epsilon)}
    assert_inferred(lambda x: getattr(mb, name)(x=x, **given_one), {"x": floats([7], 0, 0.01, 3)})


@given(st.floats(-2, 0), st.floats(0.25, 2))
@drawn
def test_two_numbers(alpha: float, beta: float) -> None:
    x = floats([3, 4], 5, -4, 4)
    first, second = np.float32(alpha), np.float32(beta)
    for name in ("clip", "linear_activation", "scaled_tanh", "sigmoid_hard", "clamped_relu"):
        assert_inferred(lambda x, name=name: getattr(mb, name)(x=x, alpha=first, beta=second), {"x": x})


@given(st.floats(0.125, 2))
@drawn
def test_one_number(alpha: float) -> None:
    x = floats([3, 4], 5, -4, 4)
    for name in ("elu", "leaky_relu", "threshold", "thresholded_relu"):
        assert_inferred(lambda x, name=name: getattr(mb, name)(x=x, alpha=np.float32(alpha)), {"x": x})


@pytest.mark.parametrize("mode", ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])
def test_gelu(mode: str) -> None:
    assert_inferred(lambda x: mb.gelu(x=x, mode=mode), {"x": floats([20], 0, -4, 4)})


def test_silu() -> None:
    x = floats([20], 0, -4, 4)
    assert_close(run(lambda x: mb.silu(x=x), {"x": x}), [x / (1 + np.exp(-x))])


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_softmax(axis: int) -> None:
    assert_inferred(lambda x: mb.softmax(x=x, axis=axis), {"x": floats([2, 3, 4])})


def test_by_channel() -> None:
    x, alpha, beta = floats([2, 3, 4, 5]), floats([3], 1), floats([3], 2, 0.5, 1)
    assert_inferred(lambda x: mb.prelu(x=x, alpha=alpha), {"x": x})
    assert_inferred(lambda x: mb.softplus_parametric(x=x, alpha=alpha, beta=beta), {"x": x})


@pytest.mark.parametrize("dtype", ["fp32", "int32", "bool"])
@pytest.mark.parametrize("x", [floats([9], 0, -4, 4), integers([9], 0, -2, 2)], ids=["floats", "integers"])
def test_cast(dtype: str, x: Array) -> None:
    assert_inferred(lambda x: mb.cast(x=x, dtype=dtype), {"x": x})


@given(broadcast())
@drawn
def test_select(shape: tuple[list[int], list[int]]) -> None:
    a, b = floats(shape[0], 1), floats(shape[0], 2)
    cond = floats(shape[0], 3) > 0
    assert_inferred(lambda cond, a, b: mb.select(cond=cond, a=a, b=b), {"cond": cond, "a": a, "b": b})


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_quantize_and_dequantize(axis: int | None, dtype: str) -> None:
    x = floats([3, 4], 0, -3, 3)
    size = [] if axis is None else [x.shape[axis]]
    scale = floats(size, 1, 0.01, 0.03)
    zero = integers(size, 2, 0, 9).astype(dtype)
    extra = {} if axis is None else {"axis": axis}
    there = {"scale": scale, "zero_point": zero, "output_dtype": dtype, **extra}
    assert_inferred(lambda x: mb.quantize(input=x, **there), {"x": x}, IOS17)
    back = {"scale": scale, "zero_point": zero, **extra}
    packed = np.clip(np.round(x * 40), -128, 127).astype(dtype)
    shape = [1, 1]
    if axis is not None:
        shape[axis] = -1
    expected = (packed.astype(np.float32) - zero.reshape(shape).astype(np.float32)) * scale.reshape(shape)
    actual = run(
        lambda x: mb.dequantize(input=mb.cast(x=x, dtype=dtype), **back), {"x": packed.astype(np.int32)}, IOS17
    )
    assert_close(actual, [expected])


def test_identity() -> None:
    assert_inferred(lambda x: mb.identity(x=x), {"x": floats([3])}, IOS16)
