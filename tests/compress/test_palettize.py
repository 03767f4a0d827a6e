"""Palettes hold the tensor: indices unpack to the nearest table entry."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbuild.compress.kmeans import cluster
from sdbuild.compress.palettize import palettize, palettize_kept
from sdbuild.coreml.encodings import Codes, Dense, Palette, Sparse
from sdbuild.errors import UserError

BITS = [1, 2, 3, 4, 6, 8]


def unpack(palette: Palette, shape: tuple[int, ...]) -> np.ndarray:
    """The indices, bit by bit, another way than the code under test packs."""
    count, width = int(np.prod(shape)), palette.indices.bits
    bits = np.unpackbits(palette.indices.packed, bitorder="little")[: count * width].reshape(count, width)
    return (bits @ (1 << np.arange(width))).reshape(shape)


def rows(palette: Palette) -> np.ndarray:
    """The tables one below the other: [groups, 2**bits]."""
    return palette.tables.reshape(-1, palette.tables.shape[-2])


def groups_of(shape: tuple[int, ...], axis: int, group_size: int | None) -> np.ndarray:
    """The group of each element."""
    if group_size is None:
        return np.zeros(shape, np.int64)
    along = [-1 if each == axis else 1 for each in range(len(shape))]
    return np.broadcast_to((np.arange(shape[axis]) // group_size).reshape(along), shape)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("bits", BITS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20)),
    axis=st.integers(0, 2),
    groups=st.sampled_from([None, 1, 2, 3]),
    exact=st.booleans(),
)
def test_every_element_gets_its_nearest_entry(
    dtype: Any, bits: int, seed: int, shape: tuple[int, ...], axis: int, groups: int | None, exact: bool
) -> None:
    shape = tuple(size * (groups or 1) if each == axis else size for each, size in enumerate(shape))
    group_size = None if groups is None else shape[axis] // groups
    tensor = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    palette = palettize(tensor, bits, "w", axis=axis, group_size=group_size, exact=exact)
    assert palette.tables.shape == (*((groups or 1) if each == axis else 1 for each in range(3)), 1 << bits, 1)
    assert (palette.shape, palette.indices.type) == (shape, f"uint{bits}")
    assert palette.tables.dtype == dtype
    assert (np.diff(rows(palette), axis=1) >= 0).all()
    assert palette.indices.packed.shape == (-(-tensor.size * bits // 8),)
    tables = rows(palette).astype(np.float64)[groups_of(shape, axis, group_size)]
    chosen = np.take_along_axis(tables, unpack(palette, shape)[..., None], -1)[..., 0]
    distances = np.abs(tensor.astype(np.float64)[..., None] - tables)
    np.testing.assert_array_equal(np.abs(tensor.astype(np.float64) - chosen), distances.min(axis=-1))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("scale", [1e-7, 0.02, 30000.0])
def test_tables_are_the_centres_rounded_to_float16(bits: int, scale: float) -> None:
    tensor = (np.random.default_rng(bits).uniform(-2, 2, 5000) * scale).astype(np.float16)
    values, counts = np.unique(tensor.astype(np.float64), return_counts=True)
    centres = cluster(values, counts.astype(np.float64), 1 << bits, False).astype(np.float16)
    palette = palettize(tensor, bits, "w")
    np.testing.assert_array_equal(rows(palette)[0, : len(centres)], centres)
    assert (rows(palette)[0, len(centres) :] == rows(palette)[0, -1]).all()


def test_float32_is_not_rounded_to_float16() -> None:
    tensor = np.array([1.0, 1.0 + 2**-20, 1e30, -1e-30], np.float32)
    palette = palettize(tensor, 2, "w")
    np.testing.assert_array_equal(rows(palette)[0, unpack(palette, (4,))], tensor)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_few_values_are_kept_exactly(dtype: Any) -> None:
    tensor = np.array([[0.5, -1.0], [65504.0, 0.0], [-0.0, 0.5]], dtype)
    palette = palettize(tensor, 2, "w")
    np.testing.assert_array_equal(rows(palette)[0, unpack(palette, (3, 2))], tensor)


def test_a_view_is_palettized_as_its_copy_is() -> None:
    tensor = np.random.default_rng(0).standard_normal((60, 40)).astype(np.float16)
    one, two = palettize(tensor.T, 4, "w"), palettize(tensor.T.copy(), 4, "w")
    np.testing.assert_array_equal(one.indices.packed, two.indices.packed)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_no_palette_can_hold_is_named(bad: float, dtype: Any) -> None:
    with pytest.raises(UserError, match=r"compress: unet\.conv_in holds infinities or NaNs"):
        palettize(np.array([1.0, bad], dtype), 4, "unet.conv_in")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("axis", "group_size"), [(0, None), (0, 3), (1, 2)])
def test_what_a_mask_keeps_is_palettized_as_if_it_were_alone(dtype: Any, axis: int, group_size: int | None) -> None:
    generator, shape = np.random.default_rng(axis), (6, 8, 5)
    tensor, mask = generator.standard_normal(shape).astype(dtype), generator.random(shape) < 0.4
    mask[3:] &= axis == 1  # with groups along the first axis, one keeps nothing
    codes = Codes("uint1", np.packbits(mask, bitorder="little"), shape)
    found = palettize_kept(Sparse(codes, Dense(tensor[mask])), 2, "w", axis=axis, group_size=group_size)
    assert isinstance(found.kept, Palette)
    assert (found.mask, found.shape, found.kept.shape) == (codes, shape, (mask.sum(),))
    groups = groups_of(shape, axis, group_size)
    chosen = rows(found.kept)[groups[mask], unpack(found.kept, found.kept.shape)]
    for group in np.unique(groups[mask]):
        alone = palettize(tensor[mask & (groups == group)], 2, "w")
        np.testing.assert_array_equal(rows(found.kept)[group], rows(alone)[0])
        np.testing.assert_array_equal(chosen[groups[mask] == group], rows(alone)[0, unpack(alone, alone.shape)])
