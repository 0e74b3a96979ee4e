"""False-positive rates, coverage and verdicts by simulation: `python -m benchmarks.stats_simulation [--runs 2000]`.

Prints the tables that docs/eval.md records. Every row states its own number of runs.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
from scipy.stats import binom

from eval.gate import Policy, decide
from eval.intervals import Interval, bootstrap_mean, tango, wilson
from eval.power import detectable_difference, detectable_mcnemar
from eval.stats import compare, mcnemar, mcnemar_mid_p, sign_flip

Rng = np.random.Generator


def false_positives(runs: int, seed: int) -> None:
    """Share of p < .05 where there is no effect."""
    rng = np.random.default_rng(seed)
    print(f"False positives at .05 ({runs} runs each)")
    for n, changed in ((100, 0.1), (200, 0.2), (500, 0.3)):
        total = rng.binomial(n, changed, runs)
        gained = rng.binomial(total, 0.5)
        print(f"  McNemar n={n}, {changed:.0%} of the pairs change", end="")
        for name, test in (("mid-p", mcnemar_mid_p), ("exact", mcnemar)):
            rate = np.mean([test(g, t - g) < 0.05 for g, t in zip(gained, total, strict=True)])
            print(f"; {name} {rate:.3f}, over all outcomes {_mcnemar_rate(test, n, changed):.3f}", end="")
        print()
    for n in (50, 200):
        rate = np.mean([sign_flip(_null(rng, n), draws=999, seed=i) < 0.05 for i in range(runs)])
        print(f"  sign-flip n={n}: {rate:.3f}")
    for clusters, size in ((20, 10), (20, 20), (50, 4)):
        labels = np.repeat(np.arange(clusters), size).tolist()
        naive, clustered = 0, 0
        for i in range(runs):
            difference = _null(rng, clusters * size) + np.repeat(rng.normal(0, 0.15, clusters), size)
            naive += sign_flip(difference, draws=999, seed=i) < 0.05
            clustered += sign_flip(difference, labels, draws=999, seed=i) < 0.05
        print(f"  {clusters} sections of {size}: naive {naive / runs:.3f}, cluster sign-flip {clustered / runs:.3f}")


def _mcnemar_rate(test: Callable[[int, int], float], n: int, changed: float) -> float:
    """The same without chance: summed over every number of changed pairs and of gains among them."""
    rate = 0.0
    for total in range(1, n + 1):
        least = next((g for g in range(total // 2, total + 1) if test(g, total - g) < 0.05), total + 1)
        rate += float(binom.pmf(total, n, changed) * binom.sf(least - 1, total, 0.5))
    return rate


def coverage(runs: int, seed: int) -> None:
    """Share of 95 % intervals that hold the truth."""
    rng = np.random.default_rng(seed)
    print(f"Coverage of 95 % intervals ({runs} runs each)")
    for n in (30, 60, 200):
        held = sum(_holds(bootstrap_mean(_skewed(rng, n), draws=1999, seed=i), 0.1) for i in range(runs))
        print(f"  BCa n={n}, skewed differences: {held / runs:.3f}")
    for clusters, size in ((15, 6), (30, 6), (60, 3)):
        labels, held = np.repeat(np.arange(clusters), size).tolist(), 0
        for i in range(runs):
            data = _skewed(rng, clusters * size) + np.repeat(rng.normal(0, 0.15, clusters), size)
            held += _holds(bootstrap_mean(data, labels, draws=1999, seed=i), 0.1)
        print(f"  cluster BCa {clusters} sections of {size}: {held / runs:.3f}")
    for n, gain, loss in ((50, 0.15, 0.1), (200, 0.12, 0.05), (200, 0.02, 0.02)):
        drawn = rng.multinomial(n, [gain, loss, 1 - gain - loss], runs)
        held = sum(_holds(tango(int(g), int(x), n), gain - loss) for g, x, _ in drawn)
        print(f"  Tango n={n}, {gain:.0%} gained, {loss:.0%} lost: {held / runs:.3f}")
    for n, share in ((40, 0.8), (200, 0.95)):
        held = sum(_holds(wilson(int(k), n), share) for k in rng.binomial(n, share, runs))
        print(f"  Wilson n={n}, share {share}: {held / runs:.3f}")


def smallest_found() -> None:
    """Smallest difference of a yes-or-no metric that is found with 80 % power; no chance in it."""
    print("Smallest difference found with 80 % power, one-sided .05, in points")
    for n in (100, 200, 500):
        for changed in (0.1, 0.2):
            found = [detectable_mcnemar(n, changed, mid_p=mid_p) or math.nan for mid_p in (True, False)]
            print(f"  McNemar n={n}, {changed:.0%} of the pairs change: mid-p {100 * found[0]:.1f}, exact {100 * found[1]:.1f}")


def verdicts(runs: int, seed: int) -> None:
    """What the gate says of adapters whose worth is known."""
    rng = np.random.default_rng(seed)
    found = detectable_difference(200, float(np.sqrt(0.2 * 0.25 + 0.2)))
    print(f"Verdicts of the gate ({runs} runs each; 200 questions in 100 sections, 60 of them unanswerable)")
    # name, true gain, share of refusals that change at random, share of right refusals lost
    kinds = (
        ("null adapter", 0.0, 0.01, 0.0),
        ("null adapter, refuses differently on 4 %", 0.0, 0.04, 0.0),
        (f"better by {100 * found:.1f} points, as 80 % power finds", found, 0.0, 0.0),
        ("the same, refuses differently on 1 %", found, 0.01, 0.0),
        ("better by 15 points, but loses a third of its right refusals", 0.15, 0.01, 0.33),
    )
    for name, gain, changed, lost in kinds:
        seen = Counter(_verdict(rng, gain, changed, lost, seed + i) for i in range(runs))
        print(f"  {name}: " + ", ".join(f"{verdict} {count / runs:.3f}" for verdict, count in seen.most_common()))


def _verdict(rng: Rng, gain: float, changed: float, lost: float, seed: int) -> str:
    labels = np.repeat(np.arange(100), 2).tolist()
    primary = compare(np.zeros(200), _null(rng, 200, gain), labels, draws=999, seed=seed)
    refused, over = (rng.random(60) < 0.9).astype(float), (rng.random(140) < 0.05).astype(float)
    refused_after = np.where(rng.random(60) < changed, 1 - refused, np.where(rng.random(60) < lost, 0.0, refused))
    over_after = np.where(rng.random(140) < changed, 1 - over, over)
    guards = {
        "abstention_recall": compare(refused, refused_after),
        "over_refusal": compare(over, over_after, higher_is_better=False),
    }
    return decide(Policy(guards=",".join(guards)), primary, guards, {}).verdict


def _null(rng: Rng, n: int, gain: float = 0.0) -> np.ndarray:
    """Differences of two arms that disagree on 40 % of the questions, of true mean `gain`."""
    size = rng.choice([0.0, 0.5, 1.0], n, p=[0.6, 0.2, 0.2])
    return size * np.where(rng.random(n) < 0.5 + gain / 0.6, 1.0, -1.0)


def _skewed(rng: Rng, n: int) -> np.ndarray:
    """Differences of mean .1: most are 0, a few are large gains."""
    return rng.choice([0.0, 0.5, 1.0, -0.5], n, p=[0.76, 0.10, 0.08, 0.06])


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    false_positives(given.runs, given.seed)
    coverage(given.runs, given.seed)
    smallest_found()
    verdicts(given.runs, given.seed)
