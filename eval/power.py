"""What a number of questions can show: power, smallest detectable effect, questions needed."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, stats


def detectable_difference(n: int, sd: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true mean difference that a one-sided paired t test at `alpha` finds with `power`; `sd` is of the differences.

    From the noncentral t distribution with n - 1 degrees of freedom.
    """
    if n < 2:
        raise ValueError("power needs at least two questions")
    critical = stats.t.ppf(1 - alpha, n - 1)

    def missing(shift: float) -> float:
        return float(power - stats.nct.sf(critical, n - 1, shift))

    return float(optimize.brentq(missing, 0.0, 2 * float(critical) + 10)) * sd / math.sqrt(n)


def mcnemar_power(n: int, discordant: float, difference: float, alpha: float = 0.05) -> float:
    """Power of the one-sided exact McNemar test where a share `discordant` changes and gains are ahead by `difference`."""
    if not 0 < abs(difference) <= discordant <= 1:
        raise ValueError(f"a difference of {difference} cannot come from {discordant} changed pairs")
    changed = np.arange(n + 1)
    weight = stats.binom.pmf(changed, n, discordant)
    # Smallest count of gains that is significant among `changed` pairs; one more than all of them where none is.
    critical = stats.binom.isf(alpha, changed, 0.5) + 1
    reached = stats.binom.sf(critical - 1, changed, (discordant + difference) / (2 * discordant))
    return float(weight @ reached)


def detectable_mcnemar(n: int, discordant: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest difference of paired proportions found with `power` where `discordant` of the pairs change."""
    if mcnemar_power(n, discordant, discordant, alpha) < power:
        return 1.0
    return float(optimize.brentq(lambda d: mcnemar_power(n, discordant, d, alpha) - power, 1e-6, discordant))


def questions_needed(difference: float, sd: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Questions for a one-sided paired test at `alpha` to find a true mean `difference` with `power` (normal approximation)."""
    if difference <= 0:
        raise ValueError("the difference must be above 0")
    return max(2, math.ceil(((stats.norm.ppf(1 - alpha) + stats.norm.ppf(power)) * sd / difference) ** 2))


def false_win_chance(attempts: int, alpha: float = 0.05) -> float:
    """Chance that at least one of `attempts` adapters without any effect passes a test at `alpha`."""
    return 1 - (1 - alpha) ** attempts
