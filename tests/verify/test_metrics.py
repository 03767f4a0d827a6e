"""The measures against what they are defined as."""

import numpy as np
import pytest

from sdbuild.verify.metrics import CEILING, compare, psnr


def noisy(scale: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(0)
    original = random.standard_normal((2, 4, 16, 16)).astype(np.float32)
    return original, original + (scale * random.standard_normal(original.shape)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0])
def test_psnr_is_that_of_the_reference_tool(scale: float) -> None:
    """Its formula written out; its peak is the result's, which in a good result is the original's but for the noise."""
    original, result = noisy(scale)
    noise = np.sqrt(((original - result) ** 2).sum() / original.size)
    expected = 20 * np.log10((np.abs(original).max() + 1e-5) / (noise + 1e-10))
    assert compare(original, result).psnr == pytest.approx(expected, abs=0.0051)
    theirs = 20 * np.log10((np.abs(result).max() + 1e-5) / (noise + 1e-10))
    if scale < 0.1:
        assert compare(original, result).psnr == pytest.approx(theirs, abs=0.05)


def test_decibels_are_known_for_known_noise() -> None:
    original = np.tile(np.float32([1, -1]), 50)
    assert compare(original, original * np.float32(0.9)).psnr == pytest.approx(20, abs=1e-3)
    assert psnr(original, original * np.float32(0.9), peak=10.0) == pytest.approx(40, abs=1e-3)


def test_one_number_gone_astray_is_no_good_result_however_far_it_went() -> None:
    original, _ = noisy(0)
    result = original.copy()
    result[0, 0, 0, 0] = 1e6
    found = compare(original, result)
    assert found.psnr < 0
    assert found.max_error > 1e5


def test_the_same_is_the_ceiling_and_nothing_is_above_it() -> None:
    original, nearly = noisy(1e-7)
    for result in (original, nearly):
        assert compare(original, result).psnr == CEILING
    assert compare(original, original).max_error == 0
    assert compare(np.zeros(3), np.zeros(3)).cosine == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_worse_than_anything(value: float) -> None:
    original, result = noisy(1e-3)
    result[1, 2, 3, 4] = value
    found = compare(original, result)
    assert (found.psnr, found.max_error, found.cosine) == (-np.inf, np.inf, 0)
    assert compare(result, result).psnr == CEILING  # a stage that keeps them changes nothing


def test_direction_and_maximum_error() -> None:
    original, result = noisy(0.5)
    found = compare(original, result)
    a, b = original.ravel(), result.ravel()
    assert found.cosine == pytest.approx(float(a @ b / np.sqrt((a @ a) * (b @ b))), abs=1e-6)
    assert found.max_error == pytest.approx(float(np.abs(a - b).max() / np.abs(a).max()))
    assert compare(original, -original).cosine == pytest.approx(-1)
    assert compare(np.zeros(4), np.ones(4)).psnr < 0
