"""Tests and intervals against statsmodels, scipy, published values and simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from eval.intervals import bootstrap_mean, quantile_ratio, t_mean, tango, wilson
from eval.power import detectable, detectable_difference, detectable_mcnemar, false_win_chance, mcnemar_power, questions_needed
from eval.stats import compare, holm, mcnemar, mcnemar_mid_p, not_worse, shown_worse, sign_flip


@pytest.mark.parametrize(("gained", "lost"), [(12, 4), (4, 12), (0, 5), (7, 7)])
def test_mcnemar_equals_statsmodels(gained: int, lost: int) -> None:
    table = [[30, gained], [lost, 20]]
    assert mcnemar(gained, lost, "two-sided") == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    tail = sum(math.comb(gained + lost, k) for k in range(gained, gained + lost + 1)) / 2 ** (gained + lost)
    assert mcnemar(gained, lost) == pytest.approx(tail)


def test_mcnemar_of_no_change_is_1() -> None:
    assert mcnemar(0, 0) == mcnemar_mid_p(0, 0) == 1.0


def test_mid_p_mcnemar_counts_the_observed_outcome_half() -> None:
    """Worked by hand: 8 of 10 changed pairs gained; 45, 10 and 1 of 1,024 patterns have 8, 9 and 10."""
    assert mcnemar(8, 2) == pytest.approx(56 / 1024)
    assert mcnemar_mid_p(8, 2) == pytest.approx((22.5 + 10 + 1) / 1024)
    assert mcnemar_mid_p(8, 2) + mcnemar_mid_p(2, 8) == pytest.approx(1)


@pytest.mark.parametrize(("n", "changed"), [(100, 0.1), (200, 0.2), (500, 0.3)])
def test_false_positive_rate_of_mid_p_mcnemar_is_5_per_cent(n: int, changed: float) -> None:
    """Summed over all outcomes, not simulated."""
    rate = 0.0
    for total in range(1, n + 1):
        if (weight := float(stats.binom.pmf(total, n, changed))) > 1e-9:
            least = next(g for g in range(total + 2) if g > total or mcnemar_mid_p(g, total - g) < 0.05)
            rate += weight * float(stats.binom.sf(least - 1, total, 0.5))
    assert 0.04 <= rate <= 0.06


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_sign_flip_is_exact_for_few_and_equals_scipy(alternative: str) -> None:
    differences = np.array([0.5, 0.3, -0.2, 0.4, 0.1, 0.6, -0.1, 0.2])
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative=alternative
    )
    assert sign_flip(differences, alternative=alternative) == pytest.approx(theirs.pvalue)  # type: ignore[arg-type]


def test_sign_flip_of_many_is_close_to_the_t_test_and_repeatable() -> None:
    differences = np.random.default_rng(3).normal(0.05, 0.3, 150)
    p = sign_flip(differences, seed=5)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0, alternative="greater").pvalue, abs=0.01)
    assert p == sign_flip(differences, seed=5)
    assert p != sign_flip(differences, seed=6)


def test_sign_flip_never_says_0_and_of_zeros_says_1() -> None:
    assert sign_flip(np.ones(50), draws=999) == 1 / 1000
    assert sign_flip(np.zeros(50)) == 1.0


def test_members_of_a_cluster_are_flipped_together() -> None:
    differences, clusters = [1.0] * 20, ["a"] * 10 + ["b"] * 10
    assert sign_flip(differences, clusters) == 0.25  # two coins
    assert sign_flip(differences) < 0.001


def test_cluster_sign_flip_is_the_share_of_all_patterns_over_unequal_sections() -> None:
    differences, labels = [0.5, 0.25, -0.5, 1.0, 0.0, 0.25, -0.25, 1.0], list("aabbbcde")
    sums = {name: sum(d for d, own in zip(differences, labels, strict=True) if own == name) for name in "abcde"}
    flipped = [np.dot(signs, list(sums.values())) for signs in itertools.product((1, -1), repeat=5)]
    share = np.mean([total >= sum(differences) - 1e-12 for total in flipped])
    assert sign_flip(differences, labels) == pytest.approx(share)


def test_holm_equals_statsmodels_in_the_given_order() -> None:
    p_values = [0.04, 0.01, 0.03, 0.5, 0.01]
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))
    assert holm([]) == []


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (1, 20), (17, 40), (40, 40)])
def test_wilson_equals_statsmodels(successes: int, n: int) -> None:
    ours = wilson(successes, n)
    assert (ours.low, ours.high) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)


def test_wilson_of_nothing_is_everything() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


def test_tango_gives_the_published_interval() -> None:
    # Airway hyper-responsiveness before and after transplantation (Bentur et al. 2009) in Fagerland et al. 2014, table 5.
    interval = tango(1, 7, 21)
    assert (interval.low, interval.high) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_tango_ends_solve_the_score_equation_with_a_nuisance_found_numerically() -> None:
    gained, lost, n = 10, 3, 50
    interval = tango(gained, lost, n)

    def score(delta: float) -> float:
        def against(lost_share: float) -> float:
            shares = lost_share + delta, lost_share, 1 - 2 * lost_share - delta
            return -sum(
                count * math.log(max(s, 1e-300)) for count, s in zip((gained, lost, n - gained - lost), shares, strict=True)
            )

        low, high = max(0.0, -delta), (1 - delta) / 2
        share = optimize.minimize_scalar(against, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        return (gained - lost - n * delta) / math.sqrt(n * (2 * share + delta - delta**2))

    assert score(interval.low) == pytest.approx(1.959964, abs=1e-4)
    assert score(interval.high) == pytest.approx(-1.959964, abs=1e-4)


def test_tango_is_symmetric_and_has_width_without_any_change() -> None:
    forth, back, still = tango(8, 3, 60), tango(3, 8, 60), tango(0, 0, 40)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert still.high == pytest.approx(1.959964**2 / (40 + 1.959964**2), rel=1e-4)  # where it coincides with Wilson's


def test_bca_is_close_to_scipy_and_a_little_wider() -> None:
    data = np.random.default_rng(1).exponential(1.0, 80)
    ours = bootstrap_mean(data, draws=20_000)
    theirs = stats.bootstrap((data,), np.mean, n_resamples=20_000, method="BCa", rng=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert ours.high - ours.low > theirs.high - theirs.low


def test_cluster_bca_is_that_of_scipy_on_the_means_of_equal_clusters() -> None:
    rng = np.random.default_rng(8)
    values, labels = rng.choice([0.0, 0.5, 1.0], 200, p=[0.7, 0.2, 0.1]), np.repeat(np.arange(40), 5).tolist()
    theirs = stats.bootstrap((values.reshape(40, 5).mean(axis=1),), np.mean, n_resamples=9999, rng=1).confidence_interval
    ours = bootstrap_mean(values, labels)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_constant_values_get_the_rule_of_three() -> None:
    interval = bootstrap_mean(np.zeros(100), bounds=(-1, 1))
    assert interval.high == pytest.approx(1 - 0.025**0.01)  # about 3.7 / 100
    assert interval.low == -interval.high
    assert "rule of three" in interval.method


def test_few_clusters_fall_back_to_t_inside_the_bounds() -> None:
    interval = bootstrap_mean([1, 1, 0, 0, 1], ["a", "a", "b", "b", "b"], bounds=(-1, 1))
    assert -1 <= interval.low <= interval.high <= 1
    assert bootstrap_mean([0.2, 0.4], ["a", "a"], bounds=(-1, 1)).method == "one unit: no interval"


def test_t_interval_equals_scipy() -> None:
    data = np.random.default_rng(4).normal(size=30)
    theirs = stats.ttest_1samp(data, 0).confidence_interval(0.95)
    assert (t_mean(data).low, t_mean(data).high) == pytest.approx((theirs.low, theirs.high))


def test_quantile_ratio_of_a_doubled_latency() -> None:
    seconds = np.random.default_rng(0).gamma(5, 0.1, 200)
    ratio, interval = quantile_ratio(seconds, 2 * seconds)
    assert ratio == pytest.approx(2)
    assert (interval.low, interval.high) == pytest.approx((2, 2))


@pytest.mark.parametrize(("mid_p", "points"), [(False, [8.2, 11.5, 5.8, 8.1, 3.6, 5.1]), (True, [7.5, 10.7, 5.4, 7.7, 3.5, 5.0])])
def test_detectable_differences_of_the_binary_table(mid_p: bool, points: list[float]) -> None:
    found = [detectable_mcnemar(n, changed, mid_p=mid_p) for n in (100, 200, 500) for changed in (0.1, 0.2)]
    assert [round(100 * (share or 0), 1) for share in found] == points


def test_detectable_differences_of_the_continuous_table_and_statsmodels() -> None:
    assert [round(detectable_difference(n, 0.2), 3) for n in (50, 100, 200, 500)] == [0.071, 0.050, 0.035, 0.022]
    theirs = TTestPower().solve_power(nobs=60, alpha=0.05, power=0.8, alternative="larger")
    assert detectable_difference(60, 1.0) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(("test", "mid_p"), [(mcnemar, False), (mcnemar_mid_p, True)])
def test_mcnemar_power_is_what_simulation_finds(test: Callable[[int, int], float], mid_p: bool) -> None:
    rng = np.random.default_rng(9)
    draws = rng.multinomial(100, [0.15, 0.05, 0.8], 4000)
    found = np.mean([test(int(gained), int(lost)) < 0.05 for gained, lost, _ in draws])
    assert mcnemar_power(100, 0.2, 0.1, mid_p=mid_p) == pytest.approx(found, abs=0.025)


def test_power_of_a_comparison_counts_sections_not_questions() -> None:
    rng = np.random.default_rng(4)
    difference, labels = rng.choice([0, 0.5, -0.5, 0.25], 60), np.repeat(np.arange(12), 5).tolist()
    means = difference.reshape(12, 5).mean(axis=1)
    theirs = TTestPower().solve_power(nobs=12, alpha=0.05, power=0.8, alternative="larger") * means.std(ddof=1)
    assert detectable(compare(np.zeros(60), difference, labels)) == pytest.approx(theirs, rel=1e-5)


def test_power_of_a_yes_or_no_metric_is_that_of_mcnemar() -> None:
    before, after = np.zeros(100), np.repeat([1.0, 0.0], [20, 80])
    assert detectable(compare(before, after)) == detectable_mcnemar(100, 0.2)
    assert detectable(compare(before, after), n=200) == detectable_mcnemar(200, 0.2)


@pytest.mark.parametrize(
    ("after", "labels"),
    [([0.0] * 40, None), ([1.0] + [0.0] * 39, None), ([0.5] * 20 + [0.0] * 20, ["one"] * 40), ([0.5] * 40, None)],
)
def test_power_is_not_told_where_no_spread_tells_it(after: list[float], labels: list[str] | None) -> None:
    assert detectable(compare([0.0] * 40, after, labels)) is None


def test_questions_needed_and_detectable_difference_agree() -> None:
    assert questions_needed(detectable_difference(300, 0.4), 0.4) == pytest.approx(300, abs=4)


def test_ten_useless_adapters_win_once_in_40_per_cent() -> None:
    assert round(false_win_chance(10), 2) == 0.40
    wins = np.random.default_rng(5).random((200_000, 10)) < 0.05 / np.arange(1, 11)  # the k-th tested at .05 / k
    assert false_win_chance(10, divided=True) == pytest.approx(wins.any(axis=1).mean(), abs=0.003)


def test_compare_chooses_the_test_by_the_data() -> None:
    binary = compare([0, 1, 0, 1], [1, 1, 0, 1])
    shares = compare([0, 0.5, 0, 1], [1, 0.5, 0, 1])
    sections = compare([0, 0.5, 0, 1], [1, 0.5, 0, 1], ["a", "a", "b", "b"])
    assert (binary.test, binary.interval.method) == ("mid-p McNemar", "Tango score")
    assert (binary.p, binary.p_exact, shares.p_exact) == (0.25, 0.5, None)
    assert (shares.test, shares.clusters) == ("sign-flip permutation", 4)
    assert (sections.test, sections.clusters) == ("cluster sign-flip permutation", 2)


def test_less_can_be_better() -> None:
    rng = np.random.default_rng(2)
    refused = (rng.random(200) < 0.4).astype(float)
    less = np.where(rng.random(200) < 0.5, 0.0, refused)
    c = compare(refused, less, higher_is_better=False)
    assert c.difference < 0 < c.gain
    assert c.p < 0.001 < 0.999 < c.p_worse
    assert c.improved > c.worsened == 0


def test_non_inferiority_needs_evidence_not_absence_of_it() -> None:
    few, many = np.zeros(10), np.zeros(400)
    assert compare(few, few).p_worse == 1.0
    assert not not_worse(compare(few, few), 0.05)  # ten equal answers prove little
    assert not_worse(compare(many, many), 0.05)
    lost = np.concatenate([np.ones(100), np.zeros(300)])
    assert shown_worse(compare(np.ones(400), lost), 0.05)
    assert not shown_worse(compare(few, few), 0.05)


@pytest.mark.parametrize(("before", "after"), [([], []), ([1.0], [1.0, 0.0]), ([math.nan], [0.0])])
def test_compare_refuses_what_is_not_paired_and_finite(before: list[float], after: list[float]) -> None:
    with pytest.raises(ValueError):
        compare(before, after)


def _null(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Differences of two equally good arms: most questions answered alike, a few half or wholly better or worse."""
    return rng.choice([0.0, 0.5, 1.0], shape, p=[0.6, 0.2, 0.2]) * rng.choice([-1.0, 1.0], shape)


def test_false_positive_rate_of_sign_flips_is_5_per_cent() -> None:
    """All 2,000 runs share one matrix of sign patterns, which keeps this fast; the p-values are those of `sign_flip`."""
    rng = np.random.default_rng(11)
    data = _null(rng, (2000, 80))
    signs = rng.choice([-1.0, 1.0], (999, 80))
    p_values = (1 + (data @ signs.T >= data.sum(axis=1, keepdims=True) - 1e-9).sum(axis=1)) / 1000
    assert 0.04 <= np.mean(p_values < 0.05) <= 0.06
    assert sign_flip(data[0], draws=4999) == pytest.approx(p_values[0], abs=0.05)


def test_clusters_are_what_keeps_the_false_positives_down() -> None:
    rng = np.random.default_rng(12)
    clusters = np.repeat(np.arange(20), 15).tolist()
    naive = clustered = 0
    for run in range(400):
        data = rng.normal(0, 0.4, 300) + np.repeat(rng.normal(0, 0.15, 20), 15)
        naive += sign_flip(data, draws=399, seed=run) < 0.05
        clustered += sign_flip(data, clusters, draws=399, seed=run) < 0.05
    assert naive / 400 > 0.1
    assert 0.02 <= clustered / 400 <= 0.08  # 400 runs: 0.05 +- 0.03


def test_coverage_of_bca_on_skewed_differences() -> None:
    rng = np.random.default_rng(13)
    held = 0
    for run in range(500):
        interval = bootstrap_mean(rng.choice([0.0, 0.5, 1.0, -0.5], 100, p=[0.76, 0.1, 0.08, 0.06]), draws=999, seed=run)
        held += interval.low <= 0.1 <= interval.high
    assert 0.92 <= held / 500 <= 0.98
