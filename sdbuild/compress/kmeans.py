"""k-means in one dimension, on a histogram.

Clusters of sorted numbers are intervals, which makes the optimum a shortest path over their borders: dynamic programming
finds it (H. Wang and M. Song, "Ckmeans.1d.dp", The R Journal, 2011), and since the best start of a cluster grows with its
end, each layer is solved by halving (X. Wu, "Optimal quantization by matrix searching", J. Algorithms, 1991). Two ways:

- exact: every border between distinct values is looked at;
- else first the borders between some bins of neighbouring values, then, around what was found, those between the values,
  again and again while a border moves to the edge of where it was sought.

Only sums, products, quotients and square roots are used, which are the same on every machine.
"""

from typing import Any

import numpy as np

from sdbuild.compiled import compiled

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

_BINS_PER_CLUSTER = 12
_CAPS = 4
_MIN_BINS = 256
_REACH = 2  # bins to either side of a border where a better place for it is sought
_ROUNDS = 100
_MAX_STARTS = 1 << 23  # starts of clusters that are remembered at a time: 32 MiB


@compiled
def cluster(values: Floats, counts: Floats, clusters: int, exact: bool) -> Floats:
    """Centres that minimise the summed squared distance.

    Args:
        values: distinct, ascending, finite, float64 [n]; n is at least 1.
        counts: how often each occurs, float64 [n].
        clusters: how many centres are wanted.
        exact: find the optimum whatever it costs: time grows with n · log n · clusters, memory with n alone.

    Returns:
        The centres, ascending, float64 [min(clusters, n)]. Not exact, their squared distance is within a thousandth of the
        optimum (measured on normal, Laplace, uniform, heavy-tailed and trained weights: see the tests).
    """
    size = len(values)
    if size <= clusters:
        return values.copy()
    sums = _sums(values, counts)
    if exact:
        edges = _optimum(sums, clusters)
    else:
        bins = _bins(values, counts, max(_MIN_BINS, _BINS_PER_CLUSTER * clusters))
        edges = bins[_optimum(sums[bins], clusters)]
        if len(bins) <= size:
            edges = _settle(sums, edges, bins)
    centres = np.empty(clusters)
    for index in range(clusters):
        start, end = sums[edges[index]], sums[edges[index + 1]]
        centres[index] = (end[1] - start[1]) / (end[0] - start[0]) + values[size // 2]
    return centres


@compiled
def _sums(values: Floats, counts: Floats) -> Floats:
    """Before each border, float64 [n + 1, 3]: the sums of counts, of values and of squares.

    Values count from the middle one, for differences of large sums lose the small ones.
    """
    sums = np.empty((len(values) + 1, 3))
    weight, moment, square = 0.0, 0.0, 0.0
    sums[0] = 0.0
    middle = values[len(values) // 2]
    for index in range(len(values)):
        count, value = counts[index], values[index] - middle
        weight += count
        moment += count * value
        square += count * value * value
        sums[index + 1, 0] = weight
        sums[index + 1, 1] = moment
        sums[index + 1, 2] = square
    return sums


@compiled
def _bins(values: Floats, counts: Floats, wanted: int) -> Ints:
    """Borders of about ``wanted`` bins of neighbouring values, or of one for each value where they are few.

    Bins lie as dense as the fourth root of the values' density: finer in the tails than the centres of many clusters,
    which follow its cube root (P. F. Panter and W. Dite, "Quantization distortion in pulse-count modulation", 1951).
    """
    size = len(values)
    if size <= wanted:
        return np.arange(size + 1)
    shares = np.empty(size - 1)
    for index in range(size - 1):
        width = values[min(index + 1, size - 1)] - values[max(index - 1, 0)]
        shares[index] = np.sqrt(np.sqrt(counts[index] * width) * width)
    for _ in range(_CAPS):  # a value far from all others has a bin of its own and no more
        shares = np.minimum(shares, shares.sum() / wanted)
    total, reached, due = shares.sum(), 0.0, 1.0
    borders = np.empty(wanted + 1, np.int64)
    borders[0], found = 0, 1
    for index in range(size - 1):
        reached += shares[index]
        if reached * wanted >= total * due and found < wanted:
            borders[found] = index + 1
            found, due = found + 1, np.floor(reached / total * wanted) + 1
    borders[found] = size
    return borders[: found + 1]


@compiled
def _optimum(sums: Floats, clusters: int) -> Ints:
    """The best borders of all, int64 [clusters + 1]: positions in ``sums``, from 0 to its end.

    Where the starts of all clusters would be too many to remember, only the middle border is found, and then what lies to
    either side of it, in twice the time (D. S. Hirschberg, "A linear space algorithm for computing maximal common
    subsequences", CACM, 1975).
    """
    edges = np.empty(clusters + 1, np.int64)
    edges[0], edges[clusters] = 0, len(sums) - 1
    open_ends = [(0, clusters)]
    while len(open_ends) > 0:
        first, last = open_ends.pop()
        start, end, count = edges[first], edges[last], last - first
        part = sums[start : end + 1]
        if count * (end - start) <= _MAX_STARTS:
            steps = np.arange(count + 1)
            low, high = steps.copy(), steps + (end - start - count)
            low[count], high[0] = end - start, 0
            edges[first : last + 1] = start + _path(part, low, high)
        elif count > 1:
            middle = first + count // 2
            edges[middle] = start + _middle_border(part, count, count // 2)
            open_ends.append((first, middle))
            open_ends.append((middle, last))
    return edges


@compiled
def _settle(sums: Floats, edges: Ints, bins: Ints) -> Ints:
    """Move borders, together, to better places near by until none is at the rim of where it was sought."""
    clusters, size = len(edges) - 1, len(sums) - 1
    low, high = edges.copy(), edges.copy()
    for _ in range(_ROUNDS):
        for index in range(1, clusters):
            near = np.searchsorted(bins, edges[index])
            low[index] = max(bins[max(near - _REACH, 0)], low[index - 1] + 1)
        for index in range(clusters - 1, 0, -1):
            near = np.searchsorted(bins, edges[index])
            high[index] = min(bins[min(near + _REACH, len(bins) - 1)], high[index + 1] - 1)
        edges = _path(sums, low, high)
        settled = True
        for index in range(1, clusters):
            at_low = edges[index] == low[index] and low[index] > index
            at_high = edges[index] == high[index] and high[index] < size - clusters + index
            settled = settled and not at_low and not at_high
        if settled:
            break
    return edges


@compiled
def _path(sums: Floats, low: Ints, high: Ints) -> Ints:
    """The best borders of which number ``j`` lies from ``low[j]`` to ``high[j]``, both strictly ascending; int64, as they."""
    clusters = len(low) - 1
    offsets = np.zeros(clusters + 2, np.int64)
    offsets[1:] = np.cumsum(high - low + 1)
    starts = np.empty(offsets[-1], np.int32)
    best = np.zeros(1)
    for layer in range(1, clusters + 1):
        best = _add_cluster(sums, best, low[layer - 1], low[layer], starts[offsets[layer] : offsets[layer + 1]])
    edges = high.copy()
    for layer in range(clusters, 0, -1):
        edges[layer - 1] = starts[offsets[layer] + edges[layer] - low[layer]]
    return edges


@compiled
def _middle_border(sums: Floats, clusters: int, half: int) -> int:
    """Where the best clusters have the border after the first ``half`` of them; remembers that border alone."""
    size = len(sums) - 1
    best, low = np.zeros(1), 0
    borders = np.zeros(1, np.int32)
    for layer in range(1, clusters + 1):
        first = layer if layer < clusters else size
        starts = np.empty(size - clusters + layer - first + 1, np.int32)
        best = _add_cluster(sums, best, low, first, starts)
        if layer > half:
            borders = borders[starts - low]
        elif layer == half:
            borders = np.arange(first, first + len(starts)).astype(np.int32)
        low = first
    return int(borders[0])


@compiled
def _add_cluster(
    sums: Floats, best: Floats, first: int, low: int, starts: np.ndarray[Any, np.dtype[np.int32]]
) -> Floats:
    """One more cluster.

    ``best`` has the least cost of the clusters so far that end at ``first``, ``first + 1``, …; the result that of one more,
    which end at ``low``, ``low + 1``, …, one for each of ``starts``, where the last one's start is written.
    """
    count = len(starts)
    after = np.empty(count)
    step = 1
    while 2 * step <= count:
        step *= 2
    while (
        step > 0
    ):  # what lies midway between two that are solved starts no earlier than the one, no later than the other
        for place in range(step - 1, count, 2 * step):
            end = low + place
            begin = np.int64(starts[place - step]) if place >= step else first
            stop = np.int64(starts[place + step]) if place + step < count else first + len(best) - 1
            weight, moment, square = sums[end, 0], sums[end, 1], sums[end, 2]
            least, chosen = np.inf, begin
            for start in range(begin, min(stop, end - 1) + 1):
                inner = moment - sums[start, 1]
                cost = best[start - first] + (square - sums[start, 2] - inner * inner / (weight - sums[start, 0]))
                if cost < least:
                    least, chosen = cost, start
            after[place], starts[place] = least, chosen
        step //= 2
    return after
