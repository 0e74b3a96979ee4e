"""How an evaluation was tested, in words: hypothesis, unit, test, interval, what was left out, multiplicity, looks, power."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version

from eval.evaluation import Evaluation
from eval.gate import points
from eval.intervals import DRAWS
from eval.metrics import METRIC
from eval.power import detectable
from eval.stats import EXACT_UNITS, Comparison

_SOFTWARE = ("emendo", "numpy", "scipy", "torch", "transformers")


def software() -> dict[str, str]:
    """Name and version of what answered and counted."""
    return {name: version(name) for name in _SOFTWARE}


def method(evaluation: Evaluation) -> list[tuple[str, str]]:
    """(heading, sentence) pairs for the report, with this evaluation's own numbers."""
    c = evaluation.primary
    lines = [("hypothesis", _hypothesis(evaluation))]
    if c is not None:
        lines += [("test", _test(c)), ("intervals", _intervals(c))]
    lines += [("left out", _left_out(evaluation)), ("several tests", _several(evaluation)), ("looks", _looks(evaluation))]
    return [*lines, ("power", _power(evaluation))]


def changed(c: Comparison | None) -> str:
    """What became of the primary metric's questions, in a line; "" where none was scored."""
    return f"Questions: {c.improved} better, {c.worsened} worse, {_same(c)} the same." if c else ""


def level(evaluation: Evaluation) -> float:
    """One-sided level at which the primary metric is tested: the policy's, divided by the looks."""
    return evaluation.policy.alpha / max(evaluation.attempts, 1)


def detectable_gain(evaluation: Evaluation) -> float | None:
    """Smallest true gain in the primary metric that this evaluation finds with 80 % power; None where nothing tells."""
    return detectable(evaluation.primary, level(evaluation)) if evaluation.primary else None


def _hypothesis(e: Evaluation) -> str:
    label = METRIC[e.policy.primary].label.lower()
    when = "locked before the answers were made" if e.locked else "as it was when they were compared"
    policy = f"Policy {e.policy.sha256[:12]}, {when}."
    if e.watch:
        return (
            f"H0: {label} or a guard has fallen by its margin or more; H1: by less. A regression is a fall that is shown "
            f"(one-sided 95 %) and may reach the margin. {policy}"
        )
    return (
        f"H0: {e.after} is not better than {e.before} in {label}; H1: it is. One-sided, at {level(e):.3g}, and the gain must be "
        f"{points(e.policy.min_effect, signed=False)} or more. {policy}"
    )


def _test(c: Comparison) -> str:
    what = f"{c.test[0].upper()}{c.test[1:]} on {c.n} pairs ({c.improved} better, {c.worsened} worse, {_same(c)} equal)"
    if c.p_exact is not None:
        return f"{what}: each question is a unit. The exact p stands beside it."
    unit = f"{c.clusters} sections, whose questions are flipped together" if c.clusters < c.n else f"{c.n} questions"
    how = f"Exact where at most {EXACT_UNITS} units differ, else {DRAWS:,} random patterns and the data (seed 0)."
    return f"{what}. Unit: {unit}. {how}"


def _intervals(c: Comparison) -> str:
    return (
        f"Two-sided 95 % unless said otherwise; of the primary difference: {c.interval.method}. Bootstraps draw "
        f"{'sections' if c.clusters < c.n else 'questions'} {DRAWS:,} times (seed 0). “At worst” in the gate is a one-sided 95 % "
        "bound of the same kind."
    )


def _left_out(e: Evaluation) -> str:
    first, second = e.arm(e.before), e.arm(e.after)
    if first is None or second is None:
        return "An arm is missing."
    why: Counter[str] = Counter()
    for question in e.questions:
        scores = [arm.scores[e.policy.primary].get(question.id) for arm in (first, second)]
        if None in scores:
            why["no answer"] += 1
        else:
            why.update([score.reason for score in scores if score and score.value is None][:1])
    if not why:
        return f"Nothing: all {len(e.questions)} questions have the primary score in both arms."
    reasons = "; ".join(f"{count} {reason}" for reason, count in why.most_common())
    return f"{why.total()} of {len(e.questions)} questions without the primary score in both arms: {reasons}."


def _several(e: Evaluation) -> str:
    guards = len(e.policy.guarded)
    told = ["One primary metric."]
    if e.watch:
        told = [
            f"{1 + guards} metrics must all hold for NO REGRESSION, which needs no correction (intersection-union test, Berger "
            "1982); one that is shown to have fallen makes a REGRESSION, uncorrected, so false alarms add up: 1 in 20 for each."
        ]
    elif guards:
        told.append(
            f"Its {guards} guards must all hold, so p needs no correction for them (intersection-union test, Berger 1982)."
        )
    told.append(f"Categories: one-sided “worse”, Holm over {len(e.slices)}.")
    if single := sorted({question.category for question in e.questions} - set(e.slices)):
        told.append(f"Not tested, for want of two scored questions: {', '.join(single)}.")
    return " ".join([*told, "All other p are description."])


def _looks(e: Evaluation) -> str:
    if e.watch:
        return "Every run is a look of its own: false alarms add up over the runs."
    counted = f"Adapter number {e.attempts} judged on these questions, so at {e.policy.alpha:g} / {e.attempts}."
    if e.attempts == 1:
        counted = "The first adapter judged on these questions."
    return f"{counted} Asking further questions because the first were not enough is a look that is not counted."


def _power(e: Evaluation) -> str:
    c, found = e.primary, detectable_gain(e)
    if c is None or found is None:
        return "Not to be told from these answers: hardly any changed, all by as much, or all are of one section."
    unit = f"{c.n} questions" + (f" in {c.clusters} sections" if c.clusters < c.n else "")
    spread = f"{c.improved + c.worsened} changed answers" if c.p_exact is not None else f"differences of sd {c.sd:.3f}"
    what = f"a true {'fall' if e.watch else 'gain'} of {points(found, signed=False)}"
    return f"With {unit} and {spread}, {what} is found with 80 % power (one-sided, {level(e):.3g}). Smaller ones can be missed."


def _same(c: Comparison) -> int:
    return c.n - c.improved - c.worsened
