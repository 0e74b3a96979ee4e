"""Recorded answers to scores, and the scores of two arms to comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emendo.records import Answer, Question, Score
from eval.evaluation import ArmResult, Estimate, TableRow
from eval.gate import Latency
from eval.intervals import bootstrap_mean, quantile_ratio, wilson
from eval.metrics import METRIC, METRICS, Metric, score_answer
from eval.run import arm_key, read_answers, read_manifest
from eval.stats import Comparison, compare


@dataclass(frozen=True)
class Scoring:
    """How answers are scored: the metrics' names, and a Score for each of them from one question and its answer."""

    names: tuple[str, ...]
    score: Callable[[Question, Answer], list[Score]]


CHAT = Scoring(tuple(metric.name for metric in METRICS), score_answer)


def load_arm(questions: Sequence[Question], out_dir: Path, key: str, scoring: Scoring = CHAT) -> ArmResult:
    """The arm's recorded answers with fresh scores; answers to questions that are not asked here are kept, unscored."""
    answers = {row.question_id: row.answer for row in read_answers(out_dir, key)}
    scores: dict[str, dict[str, Score]] = {name: {} for name in scoring.names}
    for question in questions:
        if question.id in answers:
            for score in scoring.score(question, answers[question.id]):
                scores[score.metric][question.id] = score
    return ArmResult(key, read_manifest(out_dir, key), answers, scores)


def compare_arms(
    questions: Sequence[Question], arms: Mapping[str, ArmResult], before: str, after: str, rag: bool
) -> list[TableRow]:
    first, second = arms.get(arm_key(before, rag)), arms.get(arm_key(after, rag))
    if first is None or second is None:
        return []
    rows = []
    for metric in (METRIC[name] for name in first.scores):
        scored = [q for q in questions if value_of(first, metric, q) is not None and value_of(second, metric, q) is not None]
        if not scored:
            reason = next((s.reason for s in second.scores[metric.name].values() if s.reason), "no answers")
            rows.append(TableRow(metric, rag, None, None, None, len(questions), reason))
            continue
        old, new = ([float(value_of(arm, metric, q) or 0) for q in scored] for arm in (first, second))
        clusters = cluster_labels(scored)
        bounds = (-1.0, 1.0) if metric.share else (-np.inf, np.inf)
        comparison = compare(old, new, clusters, higher_is_better=metric.higher_is_better, bounds=bounds)
        estimates = [estimate(values, clusters, metric) for values in (old, new)]
        rows.append(TableRow(metric, rag, estimates[0], estimates[1], comparison, len(questions) - len(scored)))
    return rows


def compare_categories(questions: Sequence[Question], first: ArmResult, second: ArmResult, primary: str) -> dict[str, Comparison]:
    """Primary metric by category, where at least two questions were scored."""
    found = {}
    for category in sorted({question.category for question in questions}):
        own = [q for q in questions if q.category == category]
        own = [
            q for q in own if value_of(first, METRIC[primary], q) is not None and value_of(second, METRIC[primary], q) is not None
        ]
        if len(own) > 1:
            old, new = ([float(value_of(arm, METRIC[primary], q) or 0) for q in own] for arm in (first, second))
            found[category] = compare(old, new, cluster_labels(own))
    return found


def compare_latency(questions: Sequence[Question], first: ArmResult, second: ArmResult) -> Latency | None:
    pairs = [(value_of(first, METRIC["latency"], q), value_of(second, METRIC["latency"], q)) for q in questions]
    timed = np.array([pair for pair in pairs if pair[0] and pair[1]], dtype=float)
    if len(timed) < 2:
        return None
    ratio, interval = quantile_ratio(timed[:, 0], timed[:, 1])
    old, new = (float(value) for value in np.quantile(timed, 0.95, axis=0))
    return Latency(old, new, ratio, interval, len(timed))


def cluster_labels(questions: Sequence[Question]) -> list[str]:
    """Each question's section; one without a cluster stands for itself."""
    return [question.cluster or f"question {question.id}" for question in questions]


def value_of(arm: ArmResult, metric: Metric, question: Question) -> float | None:
    """The score of one question; None where it was not scored."""
    score = arm.scores[metric.name].get(question.id)
    return score.value if score else None


def estimate(values: Sequence[float], clusters: Sequence[str], metric: Metric) -> Estimate:
    """Mean and 95 % interval of one arm's scores: Wilson for yes or no, else (cluster) bootstrap."""
    mean = float(np.mean(values))
    if set(values) <= {0.0, 1.0} and len(set(clusters)) == len(clusters):
        return Estimate(mean, wilson(int(sum(values)), len(values)), len(values))
    bounds = (0.0, 1.0) if metric.share else (-np.inf, np.inf)
    return Estimate(mean, bootstrap_mean(values, clusters, bounds=bounds), len(values))
