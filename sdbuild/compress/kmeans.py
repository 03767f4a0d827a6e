"""k-means in one dimension, on a histogram.

A float16 tensor has at most 65,536 distinct values, so clustering its histogram costs the same for a thousand weights as
for a billion. Clusters of sorted numbers are intervals, which makes the optimum a shortest path: dynamic programming finds
it (H. Wang and M. Song, "Ckmeans.1d.dp", The R Journal, 2011). Here it runs on a few thousand bins of neighbouring values,
and Lloyd's method (S. P. Lloyd, "Least squares quantization in PCM", 1982) then settles the borders on the values themselves.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

_BINS_PER_CLUSTER = 32
_MIN_BINS = 4096
_ITERATIONS = 1000


def cluster(values: Floats, counts: Floats, clusters: int) -> Floats:
    """Centres that minimise the summed squared distance.

    Args:
        values: distinct, ascending, float64 [n].
        counts: how often each occurs, float64 [n].
        clusters: how many centres are wanted.

    Returns:
        The centres, ascending, float64 [min(clusters, n)]; optimal where n is at most 4,096 or 32 a cluster, else
        within three thousandths of the optimum on normal and Laplace weights (measured up to 256 clusters).
    """
    if len(values) <= clusters:
        return values
    sums = _Sums.of(values, counts)
    bins = _bins(values, counts, max(_MIN_BINS, _BINS_PER_CLUSTER * clusters))
    edges = bins[_shortest_path(_Sums(sums.weight[bins], sums.moment[bins], sums.square[bins]), clusters)]
    centres = sums.means(edges)
    for _ in range(_ITERATIONS):
        borders = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        moved = np.concatenate([[0], borders, [len(values)]])
        if np.array_equal(moved, edges) or (np.diff(moved) == 0).any():
            break
        edges, centres = moved, sums.means(moved)
    return centres


@dataclass(frozen=True)
class _Sums:
    """Running sums before each border, float64 [borders]: of counts, of values, of squares."""

    weight: Floats
    moment: Floats
    square: Floats

    @staticmethod
    def of(values: Floats, counts: Floats) -> "_Sums":
        terms = (counts, counts * values, counts * values**2)
        return _Sums(*(np.concatenate([[0.0], np.cumsum(term)]) for term in terms))

    def means(self, edges: Ints) -> Floats:
        """The mean of each interval between neighbouring edges."""
        return np.diff(self.moment[edges]) / np.diff(self.weight[edges])

    def cost(self, start: Ints, end: Ints) -> Floats:
        """The squared distance to its mean of each interval [start, end), none of which is empty."""
        moment = self.moment[end] - self.moment[start]
        return self.square[end] - self.square[start] - moment**2 / (self.weight[end] - self.weight[start])


def _bins(values: Floats, counts: Floats, wanted: int) -> Ints:
    """Borders that gather neighbouring values into about ``wanted`` bins, or each value in its own where they are few.

    Bins lie as dense as the cube root of the values' density, for so do the centres of an optimum of many clusters
    (P. F. Panter and W. Dite, "Quantization distortion in pulse-count modulation", 1951).
    """
    if len(values) <= wanted:
        return np.arange(len(values) + 1)
    grid = np.linspace(values[0], values[-1], wanted + 1)
    density = np.histogram(values, grid, weights=counts)[0]
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    limits = np.interp(np.linspace(0, share[-1], wanted + 1)[1:-1], share, grid)
    return np.unique(np.concatenate([[0], np.searchsorted(values, limits), [len(values)]]))


def _shortest_path(sums: _Sums, clusters: int) -> Ints:
    """Borders of the optimal clusters, int64 [clusters + 1], as positions among the bins' borders.

    ``best[i]`` is the cost of the first i bins in the clusters so far. The last cluster's start grows with i, so that each
    layer is solved by halving: solve the middle, and search on either side of its answer only; all halves of a depth at once.
    """
    size = len(sums.weight) - 1
    ends = np.arange(size + 1)
    best = np.concatenate([[0.0], sums.cost(np.zeros(size, np.int64), ends[1:])])
    starts = []
    for layer in range(1, clusters):
        best, start = _add_cluster(sums, best, layer)
        starts.append(start)
    edges = [size]
    for start in reversed(starts):
        edges.append(int(start[edges[-1]]))
    return np.array([0, *reversed(edges)])


def _add_cluster(sums: _Sums, best: Floats, layer: int) -> tuple[Floats, Ints]:
    """One more cluster: the new ``best``, and where its last cluster starts, for every number of bins."""
    size = len(best) - 1
    after, start = np.full(size + 1, np.inf), np.full(size + 1, layer, np.int64)
    start[-1] = size - 1
    low, high = np.array([layer + 1]), np.array([size])  # the ranges of i still to be solved
    first, last = np.array([layer]), np.array([size - 1])  # and of their answers
    while len(low):
        middle = (low + high) // 2
        to = np.minimum(last, middle - 1)
        lengths = to - first + 1
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        candidates = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - first, lengths)
        costs = best[candidates] + sums.cost(candidates, np.repeat(middle, lengths))
        least = np.minimum.reduceat(costs, offsets[:-1])
        hits = np.flatnonzero(costs == np.repeat(least, lengths))
        chosen = candidates[hits[np.searchsorted(hits, offsets[:-1])]]
        after[middle], start[middle] = least, chosen
        low, high, first, last = (
            np.concatenate(pair) for pair in ((low, middle + 1), (middle - 1, high), (first, chosen), (chosen, last))
        )
        kept = low <= high
        low, high, first, last = low[kept], high[kept], first[kept], last[kept]
    return after, start
