"""The whole evaluation in one call: ask every arm, score, compare before with after, decide, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emendo.records import AdapterCard, Answer, Question, Score, UserError
from eval.gate import Gate, Latency, Policy, decide, lock_policy
from eval.intervals import Interval, bootstrap_mean, quantile_ratio, wilson
from eval.leaks import Encode, LeakCheck, TrainingText, find_leaks
from eval.metrics import METRIC, METRICS, Metric, score_answer
from eval.questions import questions_sha256
from eval.report import Report, write_report
from eval.run import Arm, Progress, arm_key, list_arms, read_answers, read_manifest, run_arm
from eval.stats import Comparison, compare

SAME_IN_BOTH_ARMS = ("prompt_version", "index_id", "settings", "batch_size", "seed", "questions_sha256")
Training = Sequence[TrainingText | tuple[str, str, str]]


@dataclass(frozen=True)
class ArmResult:
    """Answers and scores of one arm, both by question id in question order."""

    key: str
    manifest: Mapping[str, Any]
    answers: Mapping[str, Answer]
    scores: Mapping[str, Mapping[str, Score]]  # metric -> question id -> Score


@dataclass(frozen=True)
class Estimate:
    """A mean of one arm."""

    value: float
    interval: Interval
    n: int


@dataclass(frozen=True)
class TableRow:
    """One metric before and after; `comparison` is None where no question was scored in both arms, then `reason` says why."""

    metric: Metric
    rag: bool
    before: Estimate | None
    after: Estimate | None
    comparison: Comparison | None
    unscored: int  # questions that lack a score in at least one arm
    reason: str = ""


@dataclass(frozen=True)
class Evaluation:
    """All that the report shows."""

    questions: tuple[Question, ...]
    before: str  # names of the two sides
    after: str
    arms: Mapping[str, ArmResult]  # by arm key
    rows: tuple[TableRow, ...]
    slices: Mapping[str, Comparison]  # primary metric by category, with RAG
    latency: Latency | None
    leaks: LeakCheck | None
    policy: Policy
    gate: Gate
    primary: Comparison | None
    attempts: int
    training: AdapterCard | None
    command: str


def evaluate(
    questions: Sequence[Question],
    arms: Sequence[Arm],
    out_dir: Path,
    training: AdapterCard | None = None,
    policy: Policy | None = None,
    training_texts: Training | None = None,
    encode: Encode | None = None,
    progress: Progress | None = None,
    batch_size: int = 16,
    seed: int = 0,
    attempts: int = 1,
    command: str = "",
) -> Report:
    """Ask `questions` in all `arms`, then judge; the first arm's name is "before", the other name "after".

    `training_texts` are what the adapter was trained on and `encode` an embedder's, for the leak check.
    """
    policy = policy or Policy()
    lock_policy(policy, out_dir)
    generate(questions, arms, out_dir, progress, batch_size, seed)
    sides = list(dict.fromkeys(arm.name for arm in arms))
    if len(sides) != 2:
        raise UserError(f"a comparison needs two sides, got {', '.join(sides) or 'none'}")
    return judge(
        questions, out_dir, sides[0], sides[1], training, policy, training_texts, encode, attempts=attempts, command=command
    )


def generate(
    questions: Sequence[Question],
    arms: Sequence[Arm],
    out_dir: Path,
    progress: Progress | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> None:
    """Answer all questions in all arms; a folder of an earlier, interrupted run is finished."""
    for arm in arms:
        run_arm(arm.key, arm.make_answerer(), questions, out_dir, batch_size, progress, seed)


def judge(
    questions: Sequence[Question],
    out_dir: Path,
    before: str = "base",
    after: str = "tuned",
    training: AdapterCard | None = None,
    policy: Policy | None = None,
    training_texts: Training | None = None,
    encode: Encode | None = None,
    report_dir: Path | None = None,
    attempts: int = 1,
    command: str = "",
) -> Report:
    """Score and compare the recorded answers of a run, and write its report. Needs no model."""
    policy = policy or Policy()
    loaded = {key: load_arm(questions, out_dir, key) for key in list_arms(out_dir)}
    for name in (before, after):
        if arm_key(name, True) not in loaded:
            raise UserError(f"{out_dir} has no arm {arm_key(name, True)!r}; found: {', '.join(loaded) or 'none'}")
    leaks = find_leaks(questions, training_texts, encode) if training_texts is not None else None
    first, second = loaded[arm_key(before, True)], loaded[arm_key(after, True)]
    rows = tuple(row for rag in (True, False) for row in _table(questions, loaded, before, after, rag))
    with_rag = {row.metric.name: row.comparison for row in rows if row.rag}
    slices = _slices(questions, first, second, policy.primary)
    latency = _latency(questions, first, second)
    faults = find_faults(questions, first, second, leaks, policy)
    primary = with_rag.get(policy.primary)
    gate = decide(policy, primary, with_rag, slices, latency, faults, attempts)
    return write_report(
        Evaluation(
            tuple(questions), before, after, loaded, rows, slices, latency, leaks, policy, gate, primary, attempts, training, command
        ),
        report_dir or out_dir,
    )


def load_arm(questions: Sequence[Question], out_dir: Path, key: str) -> ArmResult:
    """The arm's recorded answers with fresh scores; answers to questions that are not asked here are kept, unscored."""
    answers = {row.question_id: row.answer for row in read_answers(out_dir, key)}
    scores: dict[str, dict[str, Score]] = {metric.name: {} for metric in METRICS}
    for question in questions:
        if question.id in answers:
            for score in score_answer(question, answers[question.id]):
                scores[score.metric][question.id] = score
    return ArmResult(key, read_manifest(out_dir, key), answers, scores)


def find_faults(
    questions: Sequence[Question], first: ArmResult, second: ArmResult, leaks: LeakCheck | None, policy: Policy
) -> list[str]:
    """Everything that makes a comparison of the two arms invalid, in words."""
    faults = []
    ids = {question.id for question in questions}
    for arm in (first, second):
        missing, extra = ids - set(arm.answers), set(arm.answers) - ids
        if missing:
            faults.append(f"{arm.key} has no answer to {len(missing)} of {len(ids)} questions, such as {min(missing)}; run it again")
        if extra:
            faults.append(f"{arm.key} answered {len(extra)} questions that are not in the file, such as {min(extra)}")
    for key in SAME_IN_BOTH_ARMS:
        if first.manifest.get(key) != second.manifest.get(key):
            faults.append(f"{key} differs: {first.manifest.get(key)!r} before, {second.manifest.get(key)!r} after")
    if first.manifest.get("questions_sha256") != questions_sha256(questions):
        faults.append("the questions were changed after the answers were made")
    if leaks is not None and not leaks.clean:
        faults.append(leaks.summary)
    if leaks is None and second.manifest.get("adapter_id"):
        faults.append(f"adapter {second.manifest['adapter_id']} was compared without its training texts: leaks were not looked for")
    for arm in (first, second):
        scores = arm.scores[policy.primary]
        unscored = [score for score in scores.values() if score.value is None]
        if scores and len(unscored) > policy.max_unscored * len(scores):
            faults.append(
                f"{len(unscored)} of {len(scores)} answers of {arm.key} have no {policy.primary} ({unscored[0].reason}); "
                "give the questions gold facts, or lock another primary metric"
            )
        if arm.answers and all(answer.abstained for answer in arm.answers.values()):
            faults.append(f"{arm.key} refused every question: its model or index does not work")
    return faults


def _table(
    questions: Sequence[Question], arms: Mapping[str, ArmResult], before: str, after: str, rag: bool
) -> list[TableRow]:
    first, second = arms.get(arm_key(before, rag)), arms.get(arm_key(after, rag))
    if first is None or second is None:
        return []
    rows = []
    for metric in METRICS:
        scored = [q for q in questions if _value(first, metric, q) is not None and _value(second, metric, q) is not None]
        if not scored:
            reason = next((s.reason for s in second.scores[metric.name].values() if s.reason), "no answers")
            rows.append(TableRow(metric, rag, None, None, None, len(questions), reason))
            continue
        old, new = ([float(_value(arm, metric, q) or 0) for q in scored] for arm in (first, second))
        clusters = cluster_labels(scored)
        bounds = (-1.0, 1.0) if metric.share else (-np.inf, np.inf)
        comparison = compare(old, new, clusters, higher_is_better=metric.higher_is_better, bounds=bounds)
        estimates = [_estimate(values, clusters, metric) for values in (old, new)]
        rows.append(TableRow(metric, rag, estimates[0], estimates[1], comparison, len(questions) - len(scored)))
    return rows


def _slices(questions: Sequence[Question], first: ArmResult, second: ArmResult, primary: str) -> dict[str, Comparison]:
    """Primary metric by category, where at least two questions were scored."""
    found = {}
    for category in sorted({question.category for question in questions}):
        own = [q for q in questions if q.category == category]
        own = [q for q in own if _value(first, METRIC[primary], q) is not None and _value(second, METRIC[primary], q) is not None]
        if len(own) > 1:
            old, new = ([float(_value(arm, METRIC[primary], q) or 0) for q in own] for arm in (first, second))
            found[category] = compare(old, new, cluster_labels(own))
    return found


def _latency(questions: Sequence[Question], first: ArmResult, second: ArmResult) -> Latency | None:
    pairs = [(_value(first, METRIC["latency"], q), _value(second, METRIC["latency"], q)) for q in questions]
    timed = np.array([pair for pair in pairs if pair[0] and pair[1]], dtype=float)
    if len(timed) < 2:
        return None
    ratio, interval = quantile_ratio(timed[:, 0], timed[:, 1])
    old, new = (float(value) for value in np.quantile(timed, 0.95, axis=0))
    return Latency(old, new, ratio, interval, len(timed))


def cluster_labels(questions: Sequence[Question]) -> list[str]:
    """Each question's section; one without a cluster stands for itself."""
    return [question.cluster or f"question {question.id}" for question in questions]


def _value(arm: ArmResult, metric: Metric, question: Question) -> float | None:
    score = arm.scores[metric.name].get(question.id)
    return score.value if score else None


def _estimate(values: Sequence[float], clusters: Sequence[str], metric: Metric) -> Estimate:
    mean = float(np.mean(values))
    if set(values) <= {0.0, 1.0} and len(set(clusters)) == len(clusters):
        return Estimate(mean, wilson(int(sum(values)), len(values)), len(values))
    bounds = (0.0, 1.0) if metric.share else (-np.inf, np.inf)
    return Estimate(mean, bootstrap_mean(values, clusters, bounds=bounds), len(values))
