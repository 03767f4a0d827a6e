"""Clusters against the exact optimum, and the properties that hold for every input."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbuild.compress.kmeans import cluster

Histogram = tuple[np.ndarray, np.ndarray]
WEIGHTS = {
    "normal": lambda random: random.standard_normal(100_000) * 0.02,
    "laplace": lambda random: random.laplace(size=100_000) * 0.02,
    "uniform": lambda random: random.uniform(-1, 1, 100_000),
    "heavy tails": lambda random: random.standard_t(3, 100_000) * 0.02,
    "one far away": lambda random: np.append(random.standard_normal(100_000) * 0.02, 60.0),
    "mostly zeros": lambda random: random.standard_normal(100_000) * (random.random(100_000) < 0.1),
    "one sided": lambda random: random.lognormal(0, 2, 100_000),
}


def histogram(weights: np.ndarray) -> Histogram:
    values, counts = np.unique(weights.astype(np.float16).astype(np.float64), return_counts=True)
    return values, counts.astype(np.float64)


def error(values: np.ndarray, counts: np.ndarray, centres: np.ndarray) -> float:
    nearest = centres[np.searchsorted((centres[1:] + centres[:-1]) / 2, values)]
    return float((counts * (values - nearest) ** 2).sum())


def optimum(values: np.ndarray, counts: np.ndarray, clusters: int) -> float:
    """As coremltools' k-means finds it."""
    kmeans1d = pytest.importorskip("coremltools._deps.kmeans1d")
    return error(values, counts, np.array(kmeans1d.cluster(values, clusters, weights=counts).centroids))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_the_error_is_within_a_thousandth_of_the_optimum(weights: str, bits: int) -> None:
    values, counts = histogram(WEIGHTS[weights](np.random.default_rng(0)))
    least = optimum(values, counts, 1 << bits)
    assert error(values, counts, cluster(values, counts, 1 << bits, False)) <= 1.001 * least
    assert error(values, counts, cluster(values, counts, 1 << bits, True)) <= (1 + 1e-9) * least


def test_exact_reaches_the_optimum_where_not_all_starts_can_be_remembered() -> None:
    values = np.sort(np.random.default_rng(0).standard_normal(70_000))
    counts = np.ones(len(values))
    assert error(values, counts, cluster(values, counts, 128, True)) <= (1 + 1e-9) * optimum(values, counts, 128)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-1e4, 1e4, width=16), min_size=1, max_size=60, unique=True),
    st.integers(1, 20),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_centres_are_ascending_and_within_range(
    numbers: list[float], clusters: int, exact: bool, random: object
) -> None:
    values = np.unique(np.array(numbers, np.float64) + 0.0)
    counts = np.array([random.randint(1, 1000) for _ in values], np.float64)  # type: ignore[attr-defined]
    centres = cluster(values, counts, clusters, exact)
    assert len(centres) == min(clusters, len(values))
    assert (np.diff(centres) >= 0).all()
    slack = 1e-9 * np.abs(values).max()
    assert values[0] - slack <= centres[0]
    assert centres[-1] <= values[-1] + slack
    if len(values) <= clusters:
        np.testing.assert_array_equal(centres, values)


def test_weights_count() -> None:
    centres = cluster(np.array([0.0, 1.0, 10.0]), np.array([3.0, 1.0, 5.0]), 2, False)
    np.testing.assert_allclose(centres, [0.25, 10.0])


@pytest.mark.parametrize("locators", ["_UserProvidedCacheLocator", "_UserProvidedCacheLocator,_UserWideCacheLocator"])
def test_nowhere_to_keep_machine_code_is_no_reason_to_fail(locators: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    places = {name: str(file / "folder") for name in ("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME")}
    code = "from sdbuild.compiled import compiled\nprint(compiled(lambda x: x + 1)(1))"
    program = tmp_path / "program.py"
    program.write_text(code)
    environment = os.environ | places | {"NUMBA_CACHE_LOCATOR_CLASSES": locators}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr
