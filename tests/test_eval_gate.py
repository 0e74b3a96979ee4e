"""Verdicts of the gate from comparisons whose worth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emendo.config import make_settings
from emendo.records import UserError
from eval.gate import Latency, Policy, decide, lock_policy, locked_policy
from eval.intervals import Interval
from eval.stats import Comparison, compare

POLICY = Policy(guards="abstention_recall,over_refusal")


def _binary(n: int, gained: int, lost: int, higher_is_better: bool = True) -> Comparison:
    before = np.array([0] * gained + [1] * (n - gained))
    after = np.array([1] * gained + [0] * lost + [1] * (n - gained - lost))
    return compare(before, after, higher_is_better=higher_is_better)


SAME = _binary(200, 0, 0)
GUARDS = {"abstention_recall": SAME, "over_refusal": _binary(200, 0, 0, higher_is_better=False)}


def test_better_and_nothing_worse_is_promoted() -> None:
    gate = decide(POLICY, _binary(200, 40, 5), GUARDS, {"steps": SAME})
    assert (gate.verdict, gate.exit_code) == ("PROMOTE", 0)
    assert "+17.5 points" in gate.reason
    assert {check.status for check in gate.checks} == {"pass"}


def test_no_better_is_rejected_when_a_gain_is_ruled_out() -> None:
    gate = decide(POLICY, _binary(400, 0, 0), GUARDS, {})
    assert (gate.verdict, gate.exit_code) == ("REJECT", 1)
    assert "ruled out" in gate.reason


def test_too_few_questions_are_inconclusive_and_the_number_needed_is_said() -> None:
    gate = decide(POLICY, _binary(40, 4, 2), GUARDS, {})
    assert (gate.verdict, gate.exit_code) == ("INCONCLUSIVE", 2)
    assert "more questions needed" in gate.reason


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        (compare([0], [1]), "1 question cannot show a gain whatever the answers are"),
        (compare([0, 0, 0], [1, 1, 1]), "3 questions cannot"),
        (compare([0, 0.5] * 10, [1, 0.5] * 10, ["a", "b"] * 10), "2 sections cannot"),
        (compare([0.0] * 20, [0.0, 1.0] * 10, ["a"] * 20), "1 section cannot"),
    ],
)
def test_so_few_that_no_answer_could_show_a_gain(comparison: Comparison, said: str) -> None:
    gate = decide(POLICY, comparison, GUARDS, {})
    assert (gate.verdict, said in gate.reason) == ("INCONCLUSIVE", True), gate.reason


def test_significant_but_smaller_than_the_least_effect_is_not_promoted() -> None:
    gate = decide(POLICY, _binary(2000, 30, 5), GUARDS, {})
    assert gate.verdict == "REJECT"
    assert "+1.2 points" in gate.reason


def test_better_but_refuses_less_is_rejected() -> None:
    gate = decide(POLICY, _binary(200, 40, 5), GUARDS | {"abstention_recall": _binary(60, 0, 20)}, {})
    assert gate.verdict == "REJECT"
    assert gate.reason.startswith("abstention recall: -33.3 points")


def test_more_refusals_of_answerable_questions_are_rejected() -> None:
    more = _binary(200, 50, 0, higher_is_better=False)
    assert decide(POLICY, _binary(200, 40, 5), GUARDS | {"over_refusal": more}, {}).reason.startswith(
        "over-refusal: +25.0 points"
    )


def test_guard_without_enough_evidence_is_inconclusive() -> None:
    gate = decide(POLICY, _binary(200, 40, 5), GUARDS | {"abstention_recall": _binary(8, 0, 1)}, {})
    assert gate.verdict == "INCONCLUSIVE"
    gate = decide(POLICY, _binary(200, 40, 5), {"abstention_recall": None, "over_refusal": SAME}, {})
    assert (gate.verdict, "not scored" in gate.reason) == ("INCONCLUSIVE", True)


def test_broken_category_is_rejected_by_holm() -> None:
    primary, slices = _binary(300, 60, 5), {f"fine {i}": SAME for i in range(5)}
    assert decide(POLICY, primary, GUARDS, slices | {"steps": _binary(30, 0, 5)}).verdict == "PROMOTE"  # .031 x 6
    gate = decide(POLICY, primary, GUARDS, slices | {"steps": _binary(30, 0, 12)})
    assert (gate.verdict, gate.reason.startswith("slices: steps dropped -40.0 points")) == ("REJECT", True)


def test_category_that_fell_without_proof_is_named() -> None:
    slices = {"fine": SAME, "steps": _binary(30, 0, 2), "safety": _binary(15, 0, 3)}
    checks = {check.name: check for check in decide(POLICY, _binary(300, 60, 5), GUARDS, slices).checks}
    assert checks["slices"].status == "pass"
    assert "3 categories; nearest to one is safety -20.0 points, Holm p = 0.1875, n = 15" in checks["slices"].text
    none = decide(POLICY, _binary(300, 60, 5), GUARDS, {}).checks[-1]
    assert (none.status, "no category has two" in none.text) == ("pass", True)


@pytest.mark.parametrize(
    ("after", "interval", "verdict"),
    [(2.1, (0.9, 1.1), "PROMOTE"), (4.0, (1.8, 2.2), "REJECT"), (3.0, (1.0, 1.6), "INCONCLUSIVE"), (2.3, (1.1, 1.3), "PROMOTE")],
)
def test_latency(after: float, interval: tuple[float, float], verdict: str) -> None:
    latency = Latency(2.0, after, after / 2, Interval(*interval, 0.9, ""), 100)
    assert decide(POLICY, _binary(200, 40, 5), GUARDS, {}, latency).verdict == verdict


def test_faults_are_invalid_and_all_are_said() -> None:
    gate = decide(POLICY, _binary(200, 40, 5), GUARDS, {}, faults=["leak", "other index"])
    assert (gate.verdict, gate.exit_code, [check.text for check in gate.checks]) == ("INVALID", 3, ["leak", "other index"])
    assert decide(POLICY, None, {}, {}).verdict == "INVALID"


def test_attempts_make_the_test_stricter() -> None:
    primary = _binary(200, 16, 6)
    assert 0.01 < primary.p < 0.05
    assert decide(POLICY, primary, GUARDS, {}).verdict == "PROMOTE"
    gate = decide(POLICY, primary, GUARDS, {}, attempts=10)
    assert gate.verdict == "INCONCLUSIVE"
    assert "without that, 40% of useless series would win once; so, 14%" in gate.reason, "dividing does not hold a series at .05"


def test_policy_is_locked(tmp_path: Path) -> None:
    lock_policy(POLICY, tmp_path)
    lock_policy(POLICY, tmp_path)
    assert locked_policy(tmp_path) == POLICY
    with pytest.raises(UserError, match="is another policy"):
        lock_policy(replace(POLICY, alpha=0.1), tmp_path)
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha": 0.2}))
    with pytest.raises(UserError, match="was edited after it was locked"):
        locked_policy(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        locked_policy(tmp_path)
    with pytest.raises(UserError, match="not the folder of an evaluation run"):
        locked_policy(tmp_path / "none")


@pytest.mark.parametrize("values", [{"primary": "fact_recal"}, {"alpha": "0"}, {"guards": "speed"}, {"primary": "latency"}])
def test_bad_policy_is_a_user_error(values: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"\[policy\]"):
        make_settings(Policy, values, "policy")


def test_useless_adapters_are_seldom_promoted() -> None:
    """200 adapters that differ from the base by chance only."""
    rng = np.random.default_rng(21)
    promoted = 0
    for seed in range(200):
        size = rng.choice([0.0, 0.5, 1.0], 200, p=[0.6, 0.2, 0.2]) * rng.choice([-1, 1], 200)
        primary = compare(np.zeros(200), size, [str(i // 2) for i in range(200)], draws=499, seed=seed)
        promoted += decide(POLICY, primary, GUARDS, {}).verdict == "PROMOTE"
    assert promoted <= 12
