"""Paired comparisons of two arms: tests, the interval of the difference, non-inferiority and Holm's correction.

Pure functions on arrays. H0 and source of each test stand in its docstring; p-values are one-sided for "after is better" unless
an alternative is named, never exactly 0, and the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from eval.intervals import DRAWS, Array, Interval, bootstrap_means, cluster_totals, tango

Alternative = Literal["greater", "less", "two-sided"]
_TIE = 1e-9  # permuted sums this close to the observed one count as equal to it
EXACT_UNITS = 13  # 2^13 sign patterns are fewer than the random draws: all are tried


@dataclass(frozen=True)
class Comparison:
    """Before against after on the same questions. Differences are after - before, in the metric's own unit and direction."""

    n: int
    clusters: int  # independent units; equal to n where questions are not clustered
    before: float  # means
    after: float
    difference: float
    interval: Interval  # of the difference, 95 % two-sided
    lower: float  # one-sided 95 % bounds of the difference
    upper: float
    p: float  # H1: after is better
    p_worse: float  # H1: after is worse
    test: str
    improved: int  # questions
    worsened: int
    sd: float  # of the differences, ready for n independent questions: clustering is in it; 0 where all are of one cluster
    higher_is_better: bool = True
    p_exact: float | None = None  # exact McNemar's p beside the mid-p; None for scores that are not 0 or 1

    @property
    def gain(self) -> float:
        """The difference with "better" counted upwards."""
        return self.difference if self.higher_is_better else -self.difference

    @property
    def worst_gain(self) -> float:
        """One-sided 95 % lower bound of the gain."""
        return self.lower if self.higher_is_better else -self.upper

    @property
    def best_gain(self) -> float:
        """One-sided 95 % upper bound of the gain."""
        return self.upper if self.higher_is_better else -self.lower


def mcnemar(gained: int, lost: int, alternative: Alternative = "greater") -> float:
    """Exact McNemar test. H0: a pair that changed was as likely to be gained (0 -> 1) as lost. Binomial(gained + lost, 1/2)."""
    if gained < 0 or lost < 0:
        raise ValueError(f"{gained} gained, {lost} lost")
    return float(stats.binomtest(gained, gained + lost, 0.5, alternative).pvalue) if gained + lost else 1.0


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """One-sided mid-p McNemar test, H1: more gained than lost (Fagerland, Lydersen & Laake 2013, doi 10.1186/1471-2288-13-91).

    H0 as `mcnemar`'s. The observed outcome counts half, so that the false positives come to .05 instead of half of it; with
    fewer than about ten changed pairs single outcomes can exceed it. 1 where nothing changed.
    """
    changed = gained + lost
    return mcnemar(gained, lost) - float(stats.binom.pmf(gained, changed, 0.5)) / 2 if changed else 1.0


def sign_flip(
    differences: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    alternative: Alternative = "greater",
    draws: int = DRAWS,
    seed: int = 0,
) -> float:
    """Sign-flip permutation test of a mean difference (Fisher 1935; p = (1 + hits) / (1 + draws), Phipson & Smyth 2010).

    H0: differences are symmetric about 0; with clusters, each cluster's sum is, and its members are flipped together. Up to
    13 units with a difference all sign patterns are tried and p is exact.
    """
    sums, _ = cluster_totals(differences, clusters)
    if not len(sums) or not np.isfinite(sums).all():
        raise ValueError("differences must be finite and at least one")
    sums = sums[np.abs(sums) > _TIE]  # a unit without a difference looks the same whichever way it is flipped
    if not len(sums):
        return 1.0
    observed = float(sums.sum())
    if len(sums) <= EXACT_UNITS:
        patterns = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return _tail(2.0 * (patterns @ sums) - observed, observed, alternative, added=0)
    flipped = np.random.default_rng(seed).integers(0, 2, (draws, len(sums)), dtype=np.int8)
    return _tail(2.0 * (flipped @ sums) - observed, observed, alternative, added=1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order (Holm 1979): family-wise error is kept whatever their dependence."""
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else []
    return [float(p) for p in adjusted]


def compare(
    before: ArrayLike,
    after: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    higher_is_better: bool = True,
    bounds: tuple[float, float] = (-1.0, 1.0),
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare two arms question by question; arrays are (n,) in the same order, `bounds` are the possible differences.

    Binary scores: mid-p McNemar, with the exact p beside it, and Tango. Others: sign-flip permutation and BCa. Where a cluster
    holds several questions: cluster sign-flip and cluster BCa (binary: the wider of it and Tango, which alone is sound when
    hardly a pair changes).
    """
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"paired scores are needed, got shapes {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("scores must be finite; leave out what could not be scored")
    if clusters is not None and len(set(clusters)) == len(first):
        clusters = None
    difference = second - first
    binary = bool(np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all())
    gained, lost = int((difference > _TIE).sum()), int((difference < -_TIE).sum())
    exact = None
    if binary and clusters is None:
        test, p, p_other = "mid-p McNemar", mcnemar_mid_p(gained, lost), mcnemar_mid_p(lost, gained)
        exact = mcnemar(gained, lost) if higher_is_better else mcnemar(lost, gained)
    else:
        test = "sign-flip permutation" if clusters is None else "cluster sign-flip permutation"
        p, p_other = (sign_flip(d, clusters, "greater", draws, seed) for d in (difference, -difference))
    interval, one_sided = _intervals(difference, clusters, binary, bounds, (0.95, 0.90), draws, seed)
    return Comparison(
        n=len(first),
        clusters=len(set(clusters)) if clusters is not None else len(first),
        before=float(first.mean()),
        after=float(second.mean()),
        difference=float(difference.mean()),
        interval=interval,
        lower=one_sided.low,
        upper=one_sided.high,
        p=p if higher_is_better else p_other,
        p_worse=p_other if higher_is_better else p,
        test=test,
        improved=gained if higher_is_better else lost,
        worsened=lost if higher_is_better else gained,
        sd=_effective_sd(difference, clusters),
        higher_is_better=higher_is_better,
        p_exact=exact,
    )


def not_worse(comparison: Comparison, margin: float) -> bool:
    """Non-inferiority: the one-sided 95 % lower bound of the gain lies above -margin. (p > .05 would be no evidence of it.)"""
    if margin <= 0:
        raise ValueError(f"margin {margin} must be above 0")
    return comparison.worst_gain > -margin


def shown_worse(comparison: Comparison, margin: float) -> bool:
    """Worse beyond doubt, and perhaps by more than the margin. Between this and `not_worse` lies "not known"."""
    return comparison.best_gain < 0 and not not_worse(comparison, margin)


def _tail(permuted: Array, observed: float, alternative: Alternative, added: int) -> float:
    if alternative == "two-sided":
        hits = int((np.abs(permuted) >= abs(observed) - _TIE).sum())
    else:
        hits = int((permuted >= observed - _TIE).sum() if alternative == "greater" else (permuted <= observed + _TIE).sum())
    return (hits + added) / (len(permuted) + added)


def _intervals(
    difference: Array,
    clusters: Sequence[Hashable] | None,
    binary: bool,
    bounds: tuple[float, float],
    levels: Sequence[float],
    draws: int,
    seed: int,
) -> list[Interval]:
    if not binary:
        return bootstrap_means(difference, clusters, levels, draws, seed, bounds)
    gained, lost = int((difference > _TIE).sum()), int((difference < -_TIE).sum())
    scores = [tango(gained, lost, len(difference), level) for level in levels]
    if clusters is None:
        return scores
    resampled = bootstrap_means(difference, clusters, levels, draws, seed, bounds)
    return [_wider(first, second) for first, second in zip(resampled, scores, strict=True)]


def _wider(first: Interval, second: Interval) -> Interval:
    method = f"wider of {first.method} and {second.method}"
    return Interval(min(first.low, second.low), max(first.high, second.high), first.level, method)


def _effective_sd(difference: Array, clusters: Sequence[Hashable] | None) -> float:
    """sd such that sd / sqrt(n) is the (cluster-robust) standard error of the mean difference."""
    sums, sizes = cluster_totals(difference, clusters)
    units, n = len(sums), len(difference)
    if units < 2:
        return 0.0
    residual = sums - difference.mean() * sizes
    return float(np.sqrt(units / (units - 1) * (residual**2).sum() / n))
