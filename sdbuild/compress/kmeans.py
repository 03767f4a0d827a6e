"""k-means in one dimension, on a histogram.

A float16 tensor has at most 65,536 distinct values, so clustering its histogram costs the same for a thousand weights as
for a billion. Clusters of sorted numbers are intervals: an iteration of Lloyd's method (S. P. Lloyd, "Least squares
quantization in PCM", 1982) is a binary search for the borders and two look-ups in running sums.
"""

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

_ITERATIONS = 2000


def cluster(values: Floats, counts: Floats, clusters: int) -> Floats:
    """Centres that minimise the summed squared distance, found by Lloyd's method.

    Args:
        values: distinct, ascending, float64 [n].
        counts: how often each occurs, float64 [n].
        clusters: how many centres are wanted.

    Returns:
        The centres, ascending, float64 [min(clusters, n)].
    """
    if len(values) <= clusters:
        return values
    weight = np.concatenate([[0.0], np.cumsum(counts)])
    moment = np.concatenate([[0.0], np.cumsum(counts * values)])
    centres = _initial(values, counts, clusters)
    for _ in range(_ITERATIONS):
        borders = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        edges = np.concatenate([[0], borders, [len(values)]])
        mass = weight[edges[1:]] - weight[edges[:-1]]
        kept = mass > 0  # an interval without values keeps its centre
        moved = centres.copy()
        moved[kept] = ((moment[edges[1:]] - moment[edges[:-1]])[kept]) / mass[kept]
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _initial(values: Floats, counts: Floats, clusters: int) -> Floats:
    """Start where the optimum is when clusters are many: as dense as the cube root of the values' density.

    Source: P. F. Panter and W. Dite, "Quantization distortion in pulse-count modulation", 1951.
    """
    bins = np.linspace(values[0], values[-1], 16 * clusters + 1)
    density = np.histogram(values, bins, weights=counts)[0]
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    targets = (np.arange(clusters) + 0.5) / clusters * share[-1]
    return np.interp(targets, share, bins)
