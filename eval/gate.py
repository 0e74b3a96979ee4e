"""May the tuned model take over? A policy fixed beforehand, four verdicts, and the reasons in words."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emendo.records import UserError
from eval.intervals import Interval
from eval.metrics import METRIC
from eval.power import false_win_chance, questions_needed, smallest_p
from eval.stats import Comparison, holm, not_worse, shown_worse

Verdict = Literal["PROMOTE", "REJECT", "INCONCLUSIVE", "INVALID", "NO REGRESSION", "REGRESSION"]
EXIT_CODES: dict[Verdict, int] = {
    "PROMOTE": 0,
    "REJECT": 1,
    "INCONCLUSIVE": 2,
    "INVALID": 3,
    "NO REGRESSION": 0,
    "REGRESSION": 1,  # the first and second of `decide_watch`, which has the other two as well
}
Status = Literal["pass", "fail", "unclear", "invalid"]
_POLICY_FILE = "policy.json"


@dataclass(frozen=True)
class Policy:
    """[policy] in emendo.toml. Locked by its hash before the first answer is generated."""

    primary: str = "fact_recall"  # the metric that decides, a share of which more is better
    alpha: float = 0.05  # one-sided; divided by the number of attempts made on the same questions
    min_effect: float = 0.03  # smallest gain worth a release, as a share
    max_unscored: float = 0.02  # share of the questions without a primary score
    margin: float = 0.05  # loss tolerated in a guarded metric where at least `margin_questions` pairs were scored
    margin_few: float = 0.10  # and where fewer were
    margin_questions: int = 200  # see margin
    # metrics, comma-separated, that must not fall by their margin
    guards: str = "abstention_recall,over_refusal,supported_sentences,citation_recall,citation_precision"
    latency_ratio: float = 1.15  # tolerated p95 ratio after / before
    latency_slack: float = 0.5  # seconds of p95 that nobody minds, whatever the ratio

    def __post_init__(self) -> None:
        for name in (self.primary, *self.guarded):
            if name not in METRIC:
                raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRIC)}")
        for name in ("alpha", "margin", "margin_few"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected a value between 0 and 1")
        if not METRIC[self.primary].share or not METRIC[self.primary].higher_is_better:
            raise ValueError(f"primary = {self.primary!r}: expected a share of which more is better")

    @property
    def guarded(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.guards.split(",") if name.strip())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()

    def margin_for(self, n: int) -> float:
        return self.margin if n >= self.margin_questions else self.margin_few


@dataclass(frozen=True)
class Latency:
    """p95 seconds of both arms and their ratio with its 90 % two-sided interval."""

    before: float
    after: float
    ratio: float
    interval: Interval
    n: int


@dataclass(frozen=True)
class Check:
    """One condition of the gate."""

    name: str
    status: Status
    text: str


@dataclass(frozen=True)
class Gate:
    verdict: Verdict
    reason: str  # the verdict's, in one line
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def lock_policy(policy: Policy, folder: Path) -> None:
    """Write the policy into the run's folder; UserError when another one was locked there before."""
    path = folder / _POLICY_FILE
    if path.exists():
        locked_policy(folder, policy)
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(policy) | {"sha256": policy.sha256}, indent=1), encoding="utf-8")


def locked_policy(folder: Path, expected: Policy | None = None) -> Policy:
    """The policy locked in the run's folder; UserError when it is missing, was edited, or is not the expected one."""
    path = folder / _POLICY_FILE
    try:
        fields = dict(json.loads(path.read_text(encoding="utf-8")))
        sha256 = fields.pop("sha256", "")
        policy = Policy(**fields)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {folder} is not the folder of an evaluation run") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete {folder} and run again") from error
    if policy.sha256 != sha256:
        raise UserError(f"{path} was edited after it was locked; restore it, or delete {folder} and run again")
    if expected is not None and expected.sha256 != sha256:
        raise UserError(
            f"{path} is another policy, locked before the answers were made; delete {folder} to ask again under the new one"
        )
    return policy


def decide(
    policy: Policy,
    primary: Comparison | None,
    guards: Mapping[str, Comparison | None],
    slices: Mapping[str, Comparison],
    latency: Latency | None = None,
    faults: Sequence[str] = (),
    attempts: int = 1,
    leak_check: str = "no training data was named",
    forgetting: Comparison | None = None,
) -> Gate:
    """The verdict. `faults` are what makes the evaluation invalid; `attempts` counts the adapters tried on these questions;
    `forgetting` compares the primary metric on general questions, asked without passages."""
    if faults or primary is None:
        texts = list(faults) or ["no question was scored in both arms"]
        return Gate("INVALID", texts[0], tuple(Check("valid", "invalid", text) for text in texts))
    checks = [
        Check("valid", "pass", f"same questions, prompt, decoding and index in both arms; {leak_check}"),
        _better(policy, primary, attempts),
        *(_guard(policy, name, guards.get(name)) for name in policy.guarded),
        *([_forgetting(policy, forgetting)] if forgetting else []),
        *([_latency(policy, latency)] if latency else []),
        _slices(policy, slices),
    ]
    failed = [check for check in checks if check.status == "fail"]
    unclear = [check for check in checks if check.status == "unclear"]
    if failed or unclear:
        decisive = (failed or unclear)[0]
        return Gate("REJECT" if failed else "INCONCLUSIVE", f"{decisive.name}: {decisive.text}", tuple(checks))
    return Gate("PROMOTE", f"{checks[1].text}; nothing guarded got worse beyond its margin", tuple(checks))


def decide_watch(
    policy: Policy,
    compared: Mapping[str, Comparison | None],
    slices: Mapping[str, Comparison],
    latency: Latency | None = None,
    faults: Sequence[str] = (),
) -> Gate:
    """Has anything got worse since the baseline? The primary metric and the guards, each within its margin.

    A metric in which no question changed passes however few they are: the questions of a watch are the whole population.
    """
    if faults or compared.get(policy.primary) is None:
        texts = list(faults) or ["no question was scored in both runs"]
        return Gate("INVALID", texts[0], tuple(Check("valid", "invalid", text) for text in texts))
    checks = [
        Check("valid", "pass", "the same questions in both runs"),
        *(_guard(policy, name, c) for name in (policy.primary, *policy.guarded) if (c := compared.get(name)) and _changed(c)),
        *([_latency(policy, latency)] if latency else []),
        _slices(policy, slices),
    ]
    same = [METRIC[n].label.split(" (")[0].lower() for n in (policy.primary, *policy.guarded) if not _changed(compared.get(n))]
    if same:
        checks.append(Check("unchanged", "pass", ", ".join(same)))
    failed = [check for check in checks if check.status == "fail"]
    unclear = [check for check in checks if check.status == "unclear"]
    if failed or unclear:
        decisive = (failed or unclear)[0]
        return Gate("REGRESSION" if failed else "INCONCLUSIVE", f"{decisive.name}: {decisive.text}", tuple(checks))
    return Gate("NO REGRESSION", "nothing watched got worse beyond its margin", tuple(checks))


def _changed(c: Comparison | None) -> bool:
    return c is not None and c.improved + c.worsened > 0


def _better(policy: Policy, c: Comparison, attempts: int) -> Check:
    alpha = policy.alpha / max(attempts, 1)
    label = METRIC[policy.primary].label.lower()
    text = f"{label} {points(c.gain)} ({points(c.worst_gain)} or more with 95 % confidence), p = {p_text(c.p)}"
    text += f" (mid-p; exact {p_text(c.p_exact)})" if c.p_exact is not None else ""
    text += f", n = {c.n}"
    if attempts > 1:
        text += f"; attempt {attempts} on these questions, tested at {alpha:.3g}"
        undivided, divided = (false_win_chance(attempts, policy.alpha, way) for way in (False, True))
        text += f" (without that, {undivided:.0%} of useless series would win once; so, {divided:.0%})"
    if c.p < alpha and c.gain >= policy.min_effect:
        return Check("better", "pass", text)
    if c.best_gain < policy.min_effect:
        return Check("better", "fail", f"{text}; a gain of {points(policy.min_effect)} is ruled out")
    if smallest_p(c) >= alpha:
        what = f"{c.clusters} section{'s' * (c.clusters != 1)}" if c.clusters < c.n else f"{c.n} question{'s' * (c.n != 1)}"
        return Check("better", "unclear", f"{text}; {what} cannot show a gain whatever the answers are: ask about more")
    target = max(c.gain, policy.min_effect)
    more = _more_questions(c, target, alpha)
    need = f"about {more} more questions needed to tell a gain of {points(target)}" if more > 0 else "ask more questions"
    return Check("better", "unclear", f"{text}; {need}")


def _guard(policy: Policy, name: str, c: Comparison | None) -> Check:
    label = METRIC[name].label.split(" (")[0].lower()
    if c is None:
        return Check(label, "unclear", "not scored in both arms; add questions for it, or take it out of the policy's guards")
    margin = policy.margin_for(c.n)
    text = f"{points(c.difference)}, at worst {points(c.worst_gain if c.higher_is_better else -c.worst_gain)}"
    text += f" (margin {points(margin, signed=False)}), n = {c.n}"
    if not_worse(c, margin):
        return Check(label, "pass", text)
    if shown_worse(c, margin):
        return Check(label, "fail", f"{text}; worse")
    room = margin + min(c.gain, 0.0)
    more = _more_questions(c, room, policy.alpha) if room > 0 else 0
    need = f"; about {more} more such questions needed" if more > 0 else ""
    if c.clusters == 1 < c.n:
        need = "; all are of one section, ask about others too"
    return Check(label, "unclear", f"{text}; a loss beyond the margin is not ruled out{need}")


def _forgetting(policy: Policy, c: Comparison) -> Check:
    """General knowledge before and after, without passages; a base that knows nothing of it has nothing to forget."""
    if c.before == 0:
        return Check("forgetting", "pass", f"the base answers none of the {c.n} general questions: nothing to forget")
    check = _guard(policy, policy.primary, c)
    return Check("forgetting", check.status, f"general questions, {100 * c.before:.0f} % -> {100 * c.after:.0f} %: {check.text}")


def _more_questions(c: Comparison, difference: float, alpha: float) -> int:
    """Questions beyond those asked that would tell `difference`; where none changed so far, by the rule of three."""
    if c.sd > 0:
        return questions_needed(difference, c.sd, alpha) - c.n
    return math.ceil(math.log(alpha) / math.log(1 - min(difference, 0.99))) - c.n


def _latency(policy: Policy, latency: Latency) -> Check:
    text = (
        f"p95 {latency.before:.2f} s -> {latency.after:.2f} s, ratio {latency.ratio:.2f}, "
        f"at most {latency.interval.high:.2f} (limit {policy.latency_ratio:g}), n = {latency.n}"
    )
    if latency.interval.high <= policy.latency_ratio:
        return Check("latency", "pass", text)
    if latency.after - latency.before <= policy.latency_slack:
        return Check("latency", "pass", f"{text}; {policy.latency_slack:g} s more are tolerated whatever the ratio")
    return Check("latency", "fail" if latency.interval.low > policy.latency_ratio else "unclear", text)


def _slices(policy: Policy, slices: Mapping[str, Comparison]) -> Check:
    """No category with a drop that stays significant after Holm's correction over all categories."""
    if not slices:
        return Check("slices", "pass", "not compared: no category has two scored questions")
    fallen = {name: p for name, p in adjusted_drops(slices).items() if slices[name].difference < 0}
    if not fallen:
        return Check("slices", "pass", f"no category of {len(slices)} is lower than before")
    worst = min(fallen, key=lambda name: (fallen[name], slices[name].difference))
    c, p = slices[worst], fallen[worst]
    text = f"{worst} {points(c.difference)}, Holm p = {p_text(p)}, n = {c.n}"
    if p < policy.alpha:
        return Check("slices", "fail", f"{worst} dropped{text.removeprefix(worst)}")
    return Check("slices", "pass", f"no drop is shown in {len(slices)} categories; nearest to one is {text}")


def adjusted_drops(slices: Mapping[str, Comparison]) -> dict[str, float]:
    """Each category's p of "worse" after Holm's correction over all of them."""
    return dict(zip(slices, holm([c.p_worse for c in slices.values()]), strict=True))


def points(share: float, signed: bool = True) -> str:
    """A share as percentage points: `+3.2 points`."""
    return f"{100 * share:{'+' if signed else ''}.1f} points"


def p_text(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.1g}"
