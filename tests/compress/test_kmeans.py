"""Clusters against the exact optimum, and the properties that hold for every input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbuild.compress.kmeans import cluster


def error(values: np.ndarray, counts: np.ndarray, centres: np.ndarray) -> float:
    distance = np.abs(values[:, None] - centres[None]).min(axis=1)
    return float((counts * distance**2).sum())


@pytest.mark.parametrize("clusters", [2, 4, 16, 64, 256])
def test_near_the_exact_optimum(clusters: int) -> None:
    kmeans1d = pytest.importorskip("coremltools._deps.kmeans1d")
    values = np.sort(np.unique(np.random.default_rng(0).standard_normal(4000)))
    counts = np.ones(len(values))
    exact = np.array(kmeans1d.cluster(values, clusters).centroids)
    assert error(values, counts, cluster(values, counts, clusters)) <= 1.001 * error(values, counts, exact)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-1e4, 1e4, width=16), min_size=1, max_size=60, unique=True),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_centres_are_ascending_within_range_and_settled(numbers: list[float], clusters: int, random: object) -> None:
    values = np.sort(np.array(numbers, np.float64) + 0.0)
    counts = np.array([random.randint(1, 1000) for _ in values], np.float64)  # type: ignore[attr-defined]
    centres = cluster(values, counts, clusters)
    assert len(centres) == min(clusters, len(values))
    assert (np.diff(centres) >= 0).all()
    assert values[0] <= centres[0]
    assert centres[-1] <= values[-1]
    if len(values) <= clusters:
        np.testing.assert_array_equal(centres, values)


def test_weights_count() -> None:
    centres = cluster(np.array([0.0, 1.0, 10.0]), np.array([3.0, 1.0, 5.0]), 2)
    np.testing.assert_allclose(centres, [0.25, 10.0])
