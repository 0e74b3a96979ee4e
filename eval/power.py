"""What a number of questions can show: power, smallest detectable effect, questions needed."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, stats

from eval.stats import Comparison


def detectable(c: Comparison, alpha: float = 0.05, n: int | None = None) -> float | None:
    """Smallest true gain that a comparison like `c`, or one of `n` questions like these, finds with 80 % power.

    None where the spread that `c` has shown tells nothing: no answer changed, all questions are of one section, or so few change
    that even gains alone would not do.
    """
    n = n or c.n
    if c.p_exact is not None:
        return detectable_mcnemar(n, (c.improved + c.worsened) / c.n, alpha)
    units = round(n * c.clusters / c.n)
    if units < 2 or c.sd == 0:
        return None
    return detectable_difference(units, c.sd * math.sqrt(units / n), alpha)


def detectable_difference(n: int, sd: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true mean difference that a one-sided paired t test at `alpha` finds with `power`; `sd` is of the differences.

    From the noncentral t distribution with n - 1 degrees of freedom; `n` counts independent units.
    """
    if n < 2:
        raise ValueError("power needs at least two questions")
    critical = stats.t.ppf(1 - alpha, n - 1)

    def missing(shift: float) -> float:
        return float(power - stats.nct.sf(critical, n - 1, shift))

    return float(optimize.brentq(missing, 0.0, 2 * float(critical) + 10)) * sd / math.sqrt(n)


def mcnemar_power(n: int, discordant: float, difference: float, alpha: float = 0.05, mid_p: bool = True) -> float:
    """Power of the one-sided McNemar test where a share `discordant` changes and gains are ahead by `difference`.

    Summed over all outcomes; with `mid_p` off, that of the exact test.
    """
    if not 0 < abs(difference) <= discordant <= 1:
        raise ValueError(f"a difference of {difference} cannot come from {discordant} changed pairs")
    changed = np.arange(n + 1)
    weight = stats.binom.pmf(changed, n, discordant)
    # Smallest count of gains that is significant among `changed` pairs; one more than all of them where none is.
    critical = stats.binom.isf(alpha, changed, 0.5) + 1
    if mid_p:  # counting it half, one gain less can do
        less = stats.binom.sf(critical - 1, changed, 0.5) + stats.binom.pmf(critical - 1, changed, 0.5) / 2
        critical = np.where((changed > 0) & (less < alpha), critical - 1, critical)
    reached = stats.binom.sf(critical - 1, changed, (discordant + difference) / (2 * discordant))
    return float(weight @ reached)


def detectable_mcnemar(n: int, discordant: float, alpha: float = 0.05, power: float = 0.8, mid_p: bool = True) -> float | None:
    """Smallest difference of paired proportions found with `power` where `discordant` of the pairs change; None if none is."""
    if discordant <= 0 or mcnemar_power(n, discordant, discordant, alpha, mid_p) < power:
        return None
    return float(optimize.brentq(lambda d: mcnemar_power(n, discordant, d, alpha, mid_p) - power, 1e-9, discordant))


def smallest_p(c: Comparison) -> float:
    """The least p that as many independent units as those of `c` can give, if all were better."""
    return 0.5**c.n / 2 if c.p_exact is not None else 0.5**c.clusters


def questions_needed(difference: float, sd: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Questions for a one-sided paired test at `alpha` to find a true mean `difference` with `power` (normal approximation)."""
    if difference <= 0:
        raise ValueError("the difference must be above 0")
    return max(2, math.ceil(((stats.norm.ppf(1 - alpha) + stats.norm.ppf(power)) * sd / difference) ** 2))


def false_win_chance(attempts: int, alpha: float = 0.05, divided: bool = False) -> float:
    """Chance that at least one of `attempts` adapters without any effect passes a test at `alpha`; independent tests.

    `divided`: the k-th is tested at alpha / k, as the gate does. How many will follow is not known, so this is no Bonferroni
    correction: the chance still grows with the attempts, only slowly.
    """
    return 1 - math.prod(1 - alpha / (k if divided else 1) for k in range(1, attempts + 1))
