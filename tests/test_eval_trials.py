"""The worked example, to the digit, with its companions."""

from __future__ import annotations

import pytest
from statsmodels.stats.weightstats import ztest as statsmodels_ztest

from emendo.records import UserError
from eval.trials import baseline_p, t_test, z_test, ztest_report

TRIALS = [41, 39, 42, 38, 40]


def test_report_of_the_worked_example() -> None:
    text, data = ztest_report(TRIALS, mean=37, sd=3.2)
    for piece in (
        "z = 2.0963 (2.10), critical value 1.6449, p = 0.01803 (0.0179 from the rounded z)",
        "reject H0 at 0.05, do not reject H0 at 0.01",
        "[37.20, 42.80]",
        "sd 1.5811: t = 4.2426, df 4, p = 0.00662",
        "exact sign test: p = 0.03125 (the smallest that 5 trials can give is 0.03125)",
        "power of this test for a true shift of +3: 67%",
        "If it rests on 8 or fewer trials, H0 is not rejected at 0.05 (8 trials: p = 0.05004; 9 trials: p = 0.04640)",
    ):
        assert piece in text
    assert data["z"] == pytest.approx(2.09631, abs=1e-5)
    assert data["reject"] == {"0.05": True, "0.01": False}
    assert data["least_baseline_trials"] == 9


def test_z_test_equals_its_textbook_form_on_other_data() -> None:
    values = [5.1, 4.7, 5.6, 5.0]
    own_sd = 0.374165738677394
    theirs = statsmodels_ztest(values, value=5.0, alternative="larger")
    assert z_test(values, 5.0, own_sd).p == pytest.approx(theirs[1])


@pytest.mark.parametrize("alternative", ["less", "two-sided"])
def test_other_alternatives(alternative: str) -> None:
    up, down = (z_test(values, 37, 3.2, alternative).p for values in (TRIALS, [74 - v for v in TRIALS]))  # type: ignore[arg-type]
    assert (up, down) == pytest.approx((0.98197, 0.01803) if alternative == "less" else (0.03605, 0.03605), abs=1e-5)


def test_known_number_of_baseline_trials_is_used() -> None:
    text, data = ztest_report(TRIALS, 37, 3.2, baseline_trials=20)
    assert data["baseline_p"] == {"20": baseline_p(TRIALS, 37, 3.2, 20)}
    assert "20 trials: p = 0.03040" in text


def test_counted_successes_add_the_exact_binomial_test() -> None:
    assert "200 of 250 against 74.0%: p = 0.01" in ztest_report(TRIALS, 37, 3.2, trials_size=50)[0]


def test_trials_without_spread_have_no_t_test() -> None:
    text, data = ztest_report([40, 40, 40], 37, 3.2)
    assert "t test: not possible" in text
    assert "t_test" not in data


def test_t_test_of_the_example() -> None:
    test = t_test(TRIALS, 37)
    assert (test.statistic, test.df, test.p) == pytest.approx((4.2426, 4, 0.00662), abs=1e-4)


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ([], {}, "no trials"),
        ([float("nan")], {}, "not a number"),
        (TRIALS, {"sd": 0}, "must be above 0"),
        (TRIALS, {"alternative": "more"}, "expected greater, less or two-sided"),
        (TRIALS, {"baseline_trials": 0}, "expected 1 or more"),
        (TRIALS, {"mean": float("inf")}, "--mean inf: expected a number"),
        (TRIALS, {"trials_size": 40}, "between 0 and it"),
        ([0, 0], {"trials_size": 0}, "--of 0: expected 1 or more"),
    ],
)
def test_bad_input_is_named(values: list[float], options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ztest_report(values, **({"mean": 37, "sd": 3.2} | options))
