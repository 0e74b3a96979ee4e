"""Confidence intervals for one mean, one proportion, a paired difference of proportions and a ratio of quantiles.

All are pure functions on arrays. Where data cannot support the usual interval (one unit, no spread) the returned `method` says
what was done instead; no function returns NaN.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Array = NDArray[np.float64]
DRAWS = 9999  # resamples of an interval, and random sign patterns of a test
_SAMES = 1e-12  # values closer than this are one value: sums of thirds and fifths differ in their last bits
_CELLS = 2_000_000  # resampled values held in memory at once


@dataclass(frozen=True)
class Interval:
    low: float
    high: float
    level: float  # two-sided; each end alone is a one-sided bound at 1 - (1 - level) / 2
    method: str


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of one proportion (Wilson 1927). Of nothing it is [0, 1]."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return Interval(0.0, 1.0, level, "no data")
    z = float(stats.norm.ppf((1 + level) / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
    return Interval(low, high, level, "Wilson")


def tango(gained: int, lost: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of a difference of paired proportions (Tango, Statistics in Medicine 17, 1998).

    `gained` pairs went 0 -> 1 and `lost` pairs 1 -> 0 out of `n`; the interval is of (gained - lost) / n. The ends are the
    differences whose score statistic, with the nuisance probability at its constrained maximum likelihood, is +-z.
    """
    if n < 1 or gained < 0 or lost < 0 or gained + lost > n:
        raise ValueError(f"{gained} gained and {lost} lost of {n} pairs")
    z = float(stats.norm.ppf((1 + level) / 2))

    def score(delta: float) -> float:
        b = -gained - lost + (2 * n - gained + lost) * delta
        root = math.sqrt(max(b * b + 8 * n * lost * delta * (1 - delta), 0.0))
        nuisance = (root - b) / (4 * n)
        variance = n * (2 * nuisance + delta * (1 - delta))
        return (gained - lost - n * delta) / math.sqrt(max(variance, 1e-300))

    estimate = (gained - lost) / n
    edge = 1 - 1e-9
    # The score falls in delta; where an end is never reached the interval runs to the edge of what is possible.
    low = -1.0 if estimate <= -edge or score(-edge) < z else float(optimize.brentq(lambda d: score(d) - z, -edge, estimate))
    high = 1.0 if estimate >= edge or score(edge) > -z else float(optimize.brentq(lambda d: score(d) + z, estimate, edge))
    return Interval(low, high, level, "Tango score")


def cluster_totals(values: ArrayLike, clusters: Sequence[Hashable] | None = None) -> tuple[Array, Array]:
    """Sum and size of each cluster in order of first appearance; without clusters every value is its own."""
    data = np.asarray(values, dtype=float)
    if clusters is None:
        return data, np.ones_like(data)
    if len(clusters) != len(data):
        raise ValueError(f"{len(data)} values but {len(clusters)} cluster labels")
    place: dict[Hashable, int] = {}
    label = np.array([place.setdefault(cluster, len(place)) for cluster in clusters], dtype=int)
    return np.bincount(label, weights=data).astype(float), np.bincount(label).astype(float)


def bootstrap_mean(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """BCa interval of a mean (Efron 1987), resampling whole clusters where labels are given.

    The tail areas are widened for few units (Hesterberg 2015, expanded percentile). `bounds` are the values that are possible:
    data without any spread then get the rule of three instead of an interval of no width. Where BCa is not defined, the
    cluster-robust t interval takes its place.
    """
    return bootstrap_means(values, clusters, (level,), draws, seed, bounds)[0]


def bootstrap_means(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None,
    levels: Sequence[float],
    draws: int = DRAWS,
    seed: int = 0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> list[Interval]:
    """`bootstrap_mean` at several levels from the same resamples."""
    sums, sizes = cluster_totals(values, clusters)
    units = len(sums)
    if units == 0:
        raise ValueError("no values")
    if units == 1:
        return [Interval(*bounds, level, "one unit: no interval") for level in levels]
    estimate = float(sums.sum() / sizes.sum())
    if np.ptp(sums / sizes) < _SAMES:
        return [_rule_of_three(estimate, int(sizes.sum()), level, bounds) for level in levels]
    resampled = _resampled_means(sums, sizes, draws, np.random.default_rng(seed))
    below = float(np.mean(resampled < estimate - _SAMES) + np.mean(np.abs(resampled - estimate) <= _SAMES) / 2)
    bias, acceleration = float(stats.norm.ppf(below)), _acceleration(sums, sizes)
    method = "BCa bootstrap" if clusters is None else "cluster BCa bootstrap"
    found = []
    for level in levels:
        tail = stats.norm.cdf(-math.sqrt(units / (units - 1)) * stats.t.ppf((1 + level) / 2, units - 1))
        shifted = bias + stats.norm.ppf([tail, 1 - tail])
        if not np.isfinite([acceleration, *shifted]).all() or (acceleration * shifted >= 1).any():
            found.append(t_mean(values, clusters, level, bounds))
            continue
        low, high = np.quantile(resampled, stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
        found.append(Interval(float(low), float(high), level, method))
    return found


def t_mean(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """t interval of a mean, cut at `bounds`; with clusters, of the ratio sum / size with its cluster-robust standard error."""
    sums, sizes = cluster_totals(values, clusters)
    units = len(sums)
    if units < 2:
        raise ValueError("a t interval needs two units")
    estimate = float(sums.sum() / sizes.sum())
    residual = sums - estimate * sizes
    error = math.sqrt(units / (units - 1) * float((residual**2).sum())) / float(sizes.sum())
    half = float(stats.t.ppf((1 + level) / 2, units - 1)) * error
    low, high = max(estimate - half, bounds[0]), min(estimate + half, bounds[1])
    return Interval(low, high, level, "t" if clusters is None else "cluster t")


def quantile_ratio(
    before: ArrayLike, after: ArrayLike, quantile: float = 0.95, level: float = 0.90, draws: int = 2000, seed: int = 0
) -> tuple[float, Interval]:
    """Ratio after / before of a quantile, with a paired percentile bootstrap; values must be positive."""
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if len(first) != len(second) or not len(first) or first.min() <= 0:
        raise ValueError("pairs of positive values are needed")
    rows = np.random.default_rng(seed).integers(0, len(first), (draws, len(first)))
    ratios = np.quantile(second[rows], quantile, axis=1) / np.quantile(first[rows], quantile, axis=1)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    estimate = float(np.quantile(second, quantile) / np.quantile(first, quantile))
    return estimate, Interval(float(low), float(high), level, "paired percentile bootstrap")


def _acceleration(sums: Array, sizes: Array) -> float:
    """BCa's acceleration from the jackknife over units; infinite where leaving one out never changes the mean."""
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    spread = left_out.mean() - left_out
    square = float((spread**2).sum())
    return float((spread**3).sum()) / (6 * square**1.5) if square > 0 else math.inf


def _resampled_means(sums: Array, sizes: Array, draws: int, rng: np.random.Generator) -> Array:
    rows_at_once = max(1, _CELLS // len(sums))
    means = np.empty(draws)
    for start in range(0, draws, rows_at_once):
        stop = min(draws, start + rows_at_once)
        chosen = rng.integers(0, len(sums), (stop - start, len(sums)))
        means[start:stop] = sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    return means


def _rule_of_three(estimate: float, n: int, level: float, bounds: tuple[float, float]) -> Interval:
    """Of n equal values: at most 1 - a^(1/n) of the population can differ, and by no more than the bounds allow.

    Values are counted, not clusters: where none differs nothing shows that those of a cluster differ together.
    """
    if not all(map(math.isfinite, bounds)):
        return Interval(estimate, estimate, level, "no spread in the data")
    differing = 1 - ((1 - level) / 2) ** (1 / n)
    low, high = (estimate + differing * (bound - estimate) for bound in bounds)
    return Interval(low, high, level, "rule of three (no spread in the data)")
