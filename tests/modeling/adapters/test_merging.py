"""Sums of large float16 weights: the same numbers as NumPy's, in the memory that the weight has."""

import numpy as np
import pytest

from sdbuild.arrays import Array
from sdbuild.modeling.adapters.halves import narrow, widen
from sdbuild.modeling.adapters.merging import Part, merge, merge_half
from sdbuild.modeling.adapters.resolve import Change

EVERY = np.arange(1 << 16, dtype=np.uint16)
"""All float16 numbers there are."""


def test_every_float16_is_widened_as_numpy_does() -> None:
    made = np.empty(EVERY.size, np.float32)
    widen(EVERY.view(np.int16), made)
    wanted = EVERY.view(np.float16).astype(np.float32)
    numbers = ~np.isnan(wanted)
    np.testing.assert_array_equal(made[numbers].view(np.uint32), wanted[numbers].view(np.uint32))
    assert np.isinf(made[~numbers]).all()


def test_numbers_are_rounded_as_numpy_does() -> None:
    halves = EVERY.view(np.float16)[np.isfinite(EVERY.view(np.float16))].astype(np.float32)
    middles = (np.sort(halves)[1:] + np.sort(halves)[:-1]) / 2
    bits = np.random.default_rng(1).integers(0, 1 << 32, 1 << 18, dtype=np.uint64).astype(np.uint32).view(np.float32)
    some = [halves, middles, np.nextafter(middles, np.inf), np.nextafter(middles, -np.inf), bits[~np.isnan(bits)]]
    numbers = np.concatenate(
        [*some, np.float32([65519.996, 65520, -65520, 1e38, np.inf, -np.inf, 0, -0.0, 1e-45, -1e-45])]
    )
    made = np.empty(numbers.size, np.float16)
    narrow(numbers, np.float32(1), made.view(np.uint16))
    with np.errstate(over="ignore"):
        wanted = numbers.astype(np.float16)
    np.testing.assert_array_equal(made.view(np.uint16), wanted.view(np.uint16))
    narrow(np.float32([np.nan]), np.float32(1), made[:1].view(np.uint16))
    assert np.isinf(made[0])


def part(shape: tuple[int, ...], rank: int, seed: int, **more: Array) -> Part:
    random = np.random.default_rng(seed)
    up, down = random.standard_normal((shape[0], rank)), random.standard_normal((rank, *shape[1:]))
    tensors = {"lora_up": up.astype(np.float32), "lora_down": (down * 0.01).astype(np.float32), **more}
    return Part(Change("lora", rank, {name: name for name in tensors}), tensors, 0.7)


@pytest.mark.parametrize("shape", [(1000, 770), (520, 64, 3, 3), (3, 200_000)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 0.125**0.5])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_large_sum_is_rounded_once(shape: tuple[int, ...], scale: float, kind: type) -> None:
    original = (np.random.default_rng(0).standard_normal(shape) * 0.03).astype(kind)
    original.reshape(-1)[:3] = 6e-8, -3e-6, 0  # of the smallest there are
    parts = [part(shape, 3, 1), part(shape, 8, 2)]
    wanted = (merge(original.copy(), parts) * np.float32(scale)).astype(np.float16)
    made = merge_half(given := original.copy(), parts, scale)
    np.testing.assert_array_equal(made.view(np.uint16), wanted.view(np.uint16))
    assert np.may_share_memory(made, given) == (kind == np.float16)


def test_a_large_sum_with_a_magnitude_is_rounded_once() -> None:
    original = np.random.default_rng(0).standard_normal((1000, 300)).astype(np.float16)
    parts = [part((1000, 300), 3, 1), part((1000, 300), 8, 2, magnitude=np.full((1000, 1), 9, np.float32))]
    wanted = merge(original.copy(), parts).astype(np.float16)
    np.testing.assert_array_equal(merge_half(original.copy(), parts, 1.0), wanted)


def test_a_weight_that_holds_infinities_stays_so() -> None:
    original = np.zeros((1000, 300), np.float16)
    original[5, 7] = np.inf
    made = merge_half(original, [part((1000, 300), 3, 1)], 1.0)
    assert np.flatnonzero(~np.isfinite(made)).tolist() == [5 * 300 + 7]
