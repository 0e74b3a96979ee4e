"""z and t tests of a few trials against a known mean, with the companions that show how far the result can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from emendo.records import UserError

Alternative = Literal["greater", "less", "two-sided"]
_H1 = {"greater": "above", "less": "below", "two-sided": "different from"}


@dataclass(frozen=True)
class MeanTest:
    """A test of H0: the trials' true mean is the historic one."""

    statistic: float
    p: float
    critical: float  # at alpha
    df: int | None = None  # None: normal


def z_test(
    values: Sequence[float], mean: float, sd: float, alternative: Alternative = "greater", alpha: float = 0.05
) -> MeanTest:
    """One-sample z test with a known standard deviation of single trials."""
    statistic = (float(np.mean(values)) - mean) / (sd / math.sqrt(len(values)))
    return MeanTest(statistic, _p(stats.norm, statistic, alternative), _critical(stats.norm, alternative, alpha))


def t_test(values: Sequence[float], mean: float, alternative: Alternative = "greater", alpha: float = 0.05) -> MeanTest:
    """One-sample t test (Student 1908): the standard deviation is the sample's own."""
    df = len(values) - 1
    statistic = (float(np.mean(values)) - mean) / (float(np.std(values, ddof=1)) / math.sqrt(len(values)))
    return MeanTest(statistic, _p(stats.t(df), statistic, alternative), _critical(stats.t(df), alternative, alpha), df)


def sign_test(values: Sequence[float], mean: float, alternative: Alternative = "greater") -> float:
    """Exact sign test: H0 puts a trial above the historic mean as often as below; ties are left out."""
    above, below = sum(value > mean for value in values), sum(value < mean for value in values)
    return float(stats.binomtest(above, above + below, 0.5, alternative).pvalue) if above + below else 1.0


def baseline_p(values: Sequence[float], mean: float, sd: float, trials: int, alternative: Alternative = "greater") -> float:
    """p of the z test when the historic mean is itself the mean of `trials` trials: variance sd^2 (1/n + 1/m)."""
    return z_test(values, mean, sd * math.sqrt(1 + len(values) / trials), alternative).p


def least_baseline_trials(
    values: Sequence[float], mean: float, sd: float, alternative: Alternative = "greater", alpha: float = 0.05
) -> int | None:
    """Fewest trials behind the historic mean with which the z test still rejects at alpha; None where it never does."""
    if z_test(values, mean, sd, alternative).p >= alpha:
        return None
    fewest = 1
    while baseline_p(values, mean, sd, fewest, alternative) >= alpha:
        fewest += 1
        if fewest > 100_000:
            return None
    return fewest


def ztest_report(
    values: Sequence[float],
    mean: float,
    sd: float,
    alternative: Alternative = "greater",
    alpha: float = 0.05,
    baseline_trials: int | None = None,
    trials_size: int | None = None,
) -> tuple[str, dict[str, Any]]:
    """The z test as text for people and as a dict for programs.

    `baseline_trials`: how many trials the historic mean rests on, where known. `trials_size`: attempts per trial, where the
    values count successes; the exact binomial test of all attempts together is then added.
    """
    _check(values, mean, sd, alternative, baseline_trials, trials_size)
    n, average, error = len(values), float(np.mean(values)), sd / math.sqrt(len(values))
    z = z_test(values, mean, sd, alternative, alpha)
    half = float(stats.norm.ppf(0.975)) * error
    result: dict[str, Any] = {
        "n": n,
        "mean": average,
        "historic_mean": mean,
        "sd": sd,
        "standard_error": error,
        "alternative": alternative,
        "alpha": alpha,
        "z": z.statistic,
        "critical": z.critical,
        "p": z.p,
        "p_from_rounded_z": _p(stats.norm, round(z.statistic, 2), alternative),
        "reject": {level: z.p < float(level) for level in ("0.05", "0.01")} | {str(alpha): z.p < alpha},
        "interval_95": [average - half, average + half],
        "sign_test_p": sign_test(values, mean, alternative),
        "sign_test_smallest_p": 0.5**n * (2 if alternative == "two-sided" else 1),
        "power": _power(average - mean, error, alternative, alpha),
        "least_baseline_trials": least_baseline_trials(values, mean, sd, alternative, alpha),
    }
    if n > 1 and np.std(values) > 0:
        result["t_test"] = asdict(t_test(values, mean, alternative, alpha)) | {"sd": float(np.std(values, ddof=1))}
    fewest = result["least_baseline_trials"]
    named = (
        [baseline_trials] if baseline_trials else ([fewest - 1] if fewest and fewest > 1 else []) + ([fewest] if fewest else [])
    )
    result["baseline_p"] = {str(m): baseline_p(values, mean, sd, m, alternative) for m in named}
    if trials_size:
        result["binomial"] = _binomial(values, mean, trials_size, alternative)
    return _text(result), result


def _text(r: dict[str, Any]) -> str:
    side = "two-sided" if r["alternative"] == "two-sided" else "one-sided"
    low, high = r["interval_95"]
    decisions = ", ".join(f"{'reject' if no else 'do not reject'} H0 at {level}" for level, no in r["reject"].items())
    lines = [
        f"z test, {side}. H0: the mean is {r['historic_mean']:g}. H1: it is {_H1[r['alternative']]} {r['historic_mean']:g}.",
        f"  {r['n']} trials, mean {r['mean']:.2f}, standard deviation {r['sd']:g} (given), "
        f"standard error {r['standard_error']:.4f}",
        f"  z = {r['z']:.4f} ({r['z']:.2f}), critical value {r['critical']:.4f}, "
        f"p = {r['p']:.5f} ({r['p_from_rounded_z']:.4f} from the rounded z)",
        f"  decision: {decisions}",
        f"  95% confidence interval of the mean [{low:.2f}, {high:.2f}]",
        "Beside it:",
    ]
    if "t_test" in r:
        t = r["t_test"]
        lines.append(f"  t test with the trials' own sd {t['sd']:.4f}: t = {t['statistic']:.4f}, df {t['df']}, p = {t['p']:.5f}")
    else:
        lines.append("  t test: not possible, the trials have no spread of their own")
    lines.append(
        f"  exact sign test: p = {r['sign_test_p']:.5f} "
        f"(the smallest that {r['n']} trials can give is {r['sign_test_smallest_p']:.5f})"
    )
    lines.append(f"  power of this test for a true shift of {r['mean'] - r['historic_mean']:+g}: {r['power']:.0%}")
    if "binomial" in r:
        b = r["binomial"]
        lines.append(f"  exact binomial test: {b['successes']} of {b['attempts']} against {b['share']:.1%}: p = {b['p']:.5f}")
    return "\n".join(lines + _baseline_lines(r)) + "\n"


def _baseline_lines(r: dict[str, Any]) -> list[str]:
    shown = "; ".join(f"{m} trials: p = {p:.5f}" for m, p in r["baseline_p"].items())
    shown = f" ({shown})" if shown else ""
    fewest, mean = r["least_baseline_trials"], f"{r['historic_mean']:g}"
    if fewest is None:
        return [f"  baseline: the historic {mean} is taken as exact; if it was estimated, less is certain{shown}"]
    if fewest == 1:
        return [f"  baseline: the decision holds even if the historic {mean} rests on one trial{shown}"]
    return [
        f"  warning: the historic {mean} is taken as exact. If it rests on {fewest - 1} or fewer trials, "
        f"H0 is not rejected at {r['alpha']:g}{shown}"
    ]


def _check(
    values: Sequence[float], mean: float, sd: float, alternative: str, baseline_trials: int | None, trials_size: int | None
) -> None:
    if not len(values) or not all(math.isfinite(value) for value in values):
        raise UserError("no trials, or one that is not a number; give one number per trial, as in `41 39 42 --mean 37 --sd 3.2`")
    if not math.isfinite(mean):
        raise UserError(f"--mean {mean:g}: expected a number, the historic mean")
    if not sd > 0 or not math.isfinite(sd):
        raise UserError(f"--sd {sd:g}: the standard deviation of single trials must be above 0")
    if alternative not in _H1:
        raise UserError(f"alternative {alternative!r}: expected greater, less or two-sided")
    if baseline_trials is not None and baseline_trials < 1:
        raise UserError(f"--baseline-trials {baseline_trials}: expected 1 or more")
    if trials_size is not None and trials_size < 1:
        raise UserError(f"--of {trials_size}: expected 1 or more attempts per trial")
    if trials_size is not None and any(not 0 <= value <= trials_size or value != int(value) for value in values):
        raise UserError(f"{trials_size} attempts per trial: every trial must be a whole number of successes between 0 and it")


def _binomial(values: Sequence[float], mean: float, size: int, alternative: Alternative) -> dict[str, Any]:
    if not 0 <= mean <= size:
        raise UserError(f"--mean {mean:g} is not between 0 and the trial size {size}")
    successes, attempts = int(sum(values)), size * len(values)
    p = float(stats.binomtest(successes, attempts, mean / size, alternative).pvalue)
    return {"successes": successes, "attempts": attempts, "share": mean / size, "p": p}


def _p(law: Any, statistic: float, alternative: Alternative) -> float:
    if alternative == "two-sided":
        return float(2 * law.sf(abs(statistic)))
    return float(law.sf(statistic) if alternative == "greater" else law.cdf(statistic))


def _critical(law: Any, alternative: Alternative, alpha: float) -> float:
    value = float(law.isf(alpha / 2 if alternative == "two-sided" else alpha))
    return -value if alternative == "less" else value


def _power(shift: float, error: float, alternative: Alternative, alpha: float) -> float:
    """Chance that the z test rejects when the true mean differs by `shift`."""
    effect = shift / error
    if alternative == "two-sided":
        z = stats.norm.isf(alpha / 2)
        return float(stats.norm.sf(z - effect) + stats.norm.cdf(-z - effect))
    return float(stats.norm.sf(stats.norm.isf(alpha) - (effect if alternative == "greater" else -effect)))
