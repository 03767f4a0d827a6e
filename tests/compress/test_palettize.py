"""Palettes hold the tensor: indices unpack to the nearest table entry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbuild.compress.palettize import Palette, palettize
from sdbuild.errors import UserError


def unpack(palette: Palette, count: int) -> np.ndarray:
    """Bit by bit, another way than the code under test packs."""
    bits = np.unpackbits(palette.packed, bitorder="little")[: count * palette.bits].reshape(count, palette.bits)
    return bits @ (1 << np.arange(palette.bits))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), count=st.integers(1, 700))
def test_every_element_gets_its_nearest_entry(bits: int, seed: int, count: int) -> None:
    tensor = np.random.default_rng(seed).standard_normal(count).astype(np.float16)
    palette = palettize(tensor, bits, "w")
    assert palette.table.shape == (1 << bits,)
    assert palette.packed.shape == (-(-count * bits // 8),)
    table = palette.table.astype(np.float64)
    chosen = table[unpack(palette, count)]
    nearest = np.abs(tensor.astype(np.float64)[:, None] - table[None]).min(axis=1)
    np.testing.assert_array_equal(np.abs(tensor.astype(np.float64) - chosen), nearest)


def test_few_values_are_kept_exactly() -> None:
    tensor = np.array([[0.5, -1.0], [65504.0, 0.0]], np.float16)
    palette = palettize(tensor, 2, "w")
    np.testing.assert_array_equal(palette.table[unpack(palette, 4)].reshape(2, 2), tensor)


def test_long_tensors_are_packed_in_pieces_that_join() -> None:
    tensor = np.random.default_rng(0).standard_normal((1 << 20) * 2 + 5).astype(np.float16)
    palette = palettize(tensor, 6, "w")
    piece = palette.table[unpack(palette, len(tensor))][(1 << 20) - 10 : (1 << 20) + 10]
    np.testing.assert_allclose(piece.astype(np.float64), tensor[(1 << 20) - 10 : (1 << 20) + 10], atol=0.2)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_no_palette_can_hold_is_named(bad: float) -> None:
    with pytest.raises(UserError, match=r"compress: unet\.conv_in holds infinities or NaNs"):
        palettize(np.array([1.0, bad], np.float16), 4, "unet.conv_in")
