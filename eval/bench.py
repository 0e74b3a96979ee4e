"""A leaderboard: several models, with and without adapters, on the same questions over the same index."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emendo.records import Answer, Question, UserError, content_id
from eval.evaluation import ArmResult, Estimate
from eval.metrics import METRIC, Metric
from eval.run import Answers, Progress, arm_key, run_arm
from eval.scoring import cluster_labels, estimate, load_arm, value_of
from eval.stats import compare, holm
from rag.prompt import build_messages

BATCH = 16  # questions handed to a model at once
_CHARACTERS_PER_TOKEN = 4  # of English, for models whose tokenizer is not here


@dataclass(frozen=True)
class Contender:
    """One model to rank. Prices are per million tokens, in any currency; None: not known."""

    name: str
    make_answerer: Callable[[], Answers]
    price_in: float | None = None
    price_out: float | None = None


@dataclass(frozen=True)
class Standing:
    """One line of the leaderboard. Tokens are means per answer."""

    name: str
    score: Estimate | None  # primary metric; None where nothing could be scored
    reason: str  # why there is no score
    refused_unanswerable: Estimate | None
    answered: Estimate | None  # share of the answerable questions
    p50: float | None  # seconds per answer
    p95: float | None
    tokens_in: float
    tokens_out: float
    tokens_estimated: bool  # from characters, not counted
    cost_per_1000: float | None  # answers
    behind: float | None = None  # leader's score - own, on the questions scored in both
    p_behind: float | None = None  # H1: the leader is better; Holm-corrected over all contenders


def bench(
    questions: Sequence[Question],
    contenders: Sequence[Contender],
    out: Path,
    primary: str = "fact_recall",
    progress: Progress | None = None,
) -> list[Standing]:
    """Ask everyone everything (answers of an earlier, interrupted run are kept) and rank by the primary metric, best first."""
    names = [contender.name for contender in contenders]
    if len(set(names)) < len(names):
        raise UserError(f"a model is named twice: {', '.join(names)}")
    found: list[tuple[Standing, ArmResult]] = []
    for contender in contenders:
        key = arm_key(_slug(contender.name), True)
        answerer = contender.make_answerer()
        run_arm(key, answerer, questions, out, BATCH, progress)
        arm = load_arm(questions, out, key)
        found.append((_standing(questions, contender, arm, primary, _counter(answerer)), arm))
        del answerer  # one model in memory at a time
    found.sort(key=lambda pair: -(pair[0].score.value if pair[0].score else -1.0))
    return _behind(questions, found, METRIC[primary])


def _standing(
    questions: Sequence[Question], contender: Contender, arm: ArmResult, primary: str, count: Callable[[str], int] | None
) -> Standing:
    answers = [arm.answers[q.id] for q in questions if q.id in arm.answers]
    timed = [s.value for s in arm.scores["latency"].values() if s.value is not None]
    p50, p95 = (float(v) for v in np.quantile(timed, [0.5, 0.95])) if timed else (None, None)
    tokens_in, tokens_out = (float(np.mean(side)) for side in zip(*(_tokens(a, count) for a in answers), strict=True))
    cost = None
    if contender.price_in is not None and contender.price_out is not None:
        cost = (tokens_in * contender.price_in + tokens_out * contender.price_out) / 1000
    answered = _mean(questions, arm, "over_refusal")
    score = _mean(questions, arm, primary)
    reason = "" if score else next((s.reason for s in arm.scores[primary].values() if s.reason), "no answers")
    if answered:
        span = answered.interval
        flipped = type(span)(1 - span.high, 1 - span.low, span.level, span.method)
        answered = Estimate(1 - answered.value, flipped, answered.n)
    return Standing(
        contender.name,
        score,
        reason,
        _mean(questions, arm, "abstention_recall"),
        answered,
        p50,
        p95,
        tokens_in,
        tokens_out,
        count is None,
        cost,
    )


def _behind(questions: Sequence[Question], found: Sequence[tuple[Standing, ArmResult]], metric: Metric) -> list[Standing]:
    """Each contender tested against the leader, question by question."""
    leader = found[0][1]
    tests = []
    for _, arm in found[1:]:
        both = [q for q in questions if value_of(leader, metric, q) is not None and value_of(arm, metric, q) is not None]
        own, best = ([float(value_of(side, metric, q) or 0) for q in both] for side in (arm, leader))
        tests.append(compare(own, best, cluster_labels(both)) if both else None)
    corrected = iter(holm([test.p for test in tests if test]))
    rows = [found[0][0]]
    for (standing, _), test in zip(found[1:], tests, strict=True):
        rows.append(replace(standing, behind=test.difference, p_behind=next(corrected)) if test else standing)
    return rows


def _mean(questions: Sequence[Question], arm: ArmResult, name: str) -> Estimate | None:
    metric = METRIC[name]
    scored = [q for q in questions if value_of(arm, metric, q) is not None]
    return estimate([float(value_of(arm, metric, q) or 0) for q in scored], cluster_labels(scored), metric) if scored else None


def _tokens(answer: Answer, count: Callable[[str], int] | None) -> tuple[int, int]:
    """(prompt, answer) tokens; an answer that was refused without the model costs none."""
    if answer.abstained and not answer.timings.get("generate"):
        return 0, 0
    prompt = " ".join(m["content"] for m in build_messages(answer.question, [hit.chunk for hit in answer.hits]))
    length = count or (lambda text: -(-len(text) // _CHARACTERS_PER_TOKEN))
    return length(prompt), length(answer.text)


def _counter(answerer: Answers) -> Callable[[str], int] | None:
    """Counts with the model's own tokenizer where it is here."""
    tokenizer = getattr(getattr(answerer, "model", None), "tokenizer", None)
    return (lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])) if tokenizer else None


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", name)[:60] + "-" + content_id(name, length=6)
