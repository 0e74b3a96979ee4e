"""Scores of one answer against its question: every metric of the report, each a Score with its evidence.

What cannot be scored has no value but a reason: "unscorable" is not "wrong". Nothing here needs a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emendo.records import Answer, Question, Score
from eval import ranking
from eval.facts import missing_facts
from eval.grounding import check_grounding, passage_text, stray_numbers
from eval.overlap import rouge_l, token_overlap
from rag.citations import CITATION

Scored = tuple[float | None, str]  # value, and evidence; or None and the reason


@dataclass(frozen=True)
class Metric:
    """How a metric is called and read. `share` metrics lie in [0, 1] and are shown as percentages; of a `neutral` one neither
    more nor less is better in itself."""

    name: str
    label: str
    group: str
    higher_is_better: bool = True
    share: bool = True
    unit: str = ""
    neutral: bool = False


METRICS = (
    Metric("fact_recall", "Fact recall", "answer"),
    Metric("accuracy", "Accuracy (all facts, no wrong number)", "answer"),
    Metric("token_precision", "Token precision", "answer"),
    Metric("token_recall", "Token recall", "answer"),
    Metric("token_f1", "Token F1", "answer"),
    Metric("rouge_l", "ROUGE-L F1", "answer"),
    Metric("abstention_recall", "Abstention recall (refuses what the manual does not say)", "refusal"),
    Metric("over_refusal", "Over-refusal (refuses what it does say)", "refusal", higher_is_better=False),
    Metric("coverage", "Coverage (questions answered)", "refusal", neutral=True),
    Metric("supported_sentences", "Supported sentences", "grounding"),
    Metric("stray_numbers", "Numbers not in the context", "grounding", higher_is_better=False, share=False, unit="per answer"),
    Metric("citation_recall", "Citation recall (ALCE)", "citations"),
    Metric("citation_precision", "Citation precision (ALCE)", "citations"),
    Metric("cited_page", "Cited page is a gold page", "citations"),
    Metric("hit@1", "Hit@1", "retrieval"),
    Metric("hit@5", "Hit@5", "retrieval"),
    Metric("recall@5", "Recall@5", "retrieval"),
    Metric("mrr@10", "MRR@10", "retrieval"),
    Metric("ndcg@10", "nDCG@10", "retrieval"),
    Metric("page_hit@5", "Page hit@5", "retrieval"),
    Metric("latency", "Latency", "cost", higher_is_better=False, share=False, unit="s"),
    Metric("answer_words", "Answer length", "cost", share=False, unit="words", neutral=True),
)
TASK_METRICS = (  # see eval/task_metrics.py
    Metric("label_accuracy", "Accuracy (right label)", "task"),
    Metric("list_f1", "F1 at k", "task"),
    Metric("list_precision", "Precision at k", "task"),
    Metric("list_recall", "Recall at k", "task"),
    Metric("list_successes", "Right items", "task", share=False, unit="per row"),
    Metric("span_f1", "Entity F1 (term and type)", "task"),
    Metric("span_precision", "Entity precision", "task"),
    Metric("span_recall", "Entity recall", "task"),
    Metric("term_f1", "Term F1 (whatever its type)", "task"),
)
JUDGE = Metric("judge_preference", "Preferred by the judge (a tie counts half)", "judge")  # see eval/llm_judge.py
METRIC = {metric.name: metric for metric in (*METRICS, *TASK_METRICS, JUDGE)}


def score_answer(question: Question, answer: Answer) -> list[Score]:
    """One Score for every metric, in the order of METRICS."""
    found: dict[str, Scored] = {}
    for scorer in _SCORERS:
        found |= scorer(question, answer)
    return [_score(question.id, metric.name, *found[metric.name]) for metric in METRICS]


def fact_recall(question: Question, answer: Answer) -> Scored:
    """Share of the gold facts that the answer states; a refusal is 0 where there is an answer and 1 where there is none."""
    if not question.answerable:
        return float(answer.abstained), "refused, as it should" if answer.abstained else "answered what the manual does not say"
    if not question.facts:
        return None, "the question has no gold facts"
    if answer.abstained:
        return 0.0, "refused an answerable question"
    missing = missing_facts(answer.text, question.facts)
    return 1 - len(missing) / len(question.facts), f"missing: {'; '.join(missing)}" if missing else "all facts stated"


def _answer_scores(question: Question, answer: Answer) -> dict[str, Scored]:
    recall, evidence = fact_recall(question, answer)
    sources = [*map(passage_text, answer.hits), question.answer, question.quote, question.question, *question.facts]
    stray = () if answer.abstained else stray_numbers(answer.text, sources)
    accuracy: Scored = (None, evidence) if recall is None else (float(recall == 1 and not stray), evidence)
    if recall == 1 and stray:
        accuracy = 0.0, f"all facts stated, but also {', '.join(stray)}"
    if question.answerable and not question.answer:
        token: dict[str, Scored] = dict.fromkeys(_TOKEN_METRICS, (None, "the question has no gold answer"))
    else:
        said = "" if answer.abstained else answer.text
        overlap = token_overlap(_unmarked(said), question.answer)
        values = (overlap.precision, overlap.recall, overlap.f1, rouge_l(_unmarked(said), question.answer).f1)
        token = {name: (value, "") for name, value in zip(_TOKEN_METRICS, values, strict=True)}
    return {"fact_recall": (recall, evidence), "accuracy": accuracy, **token}


_TOKEN_METRICS = ("token_precision", "token_recall", "token_f1", "rouge_l")


def _refusal_scores(question: Question, answer: Answer) -> dict[str, Scored]:
    refused = float(answer.abstained)
    return {
        "abstention_recall": (None, "the question is answerable") if question.answerable else (refused, ""),
        "over_refusal": (refused, "") if question.answerable else (None, "the question is unanswerable"),
        "coverage": (1 - refused, ""),
    }


def _grounding_scores(question: Question, answer: Answer) -> dict[str, Scored]:
    names = ("supported_sentences", "stray_numbers", "citation_recall", "citation_precision", "cited_page")
    if answer.abstained or not answer.hits:
        reason = "refused" if answer.abstained else "no passages"
        return dict.fromkeys(names, (None, reason))
    found = check_grounding(answer)
    pages = [citation.pages for citation in answer.citations if citation.pages]
    return {
        "supported_sentences": _share(found.sentences, found.unsupported, "no sentence"),
        "stray_numbers": (float(len(found.stray_numbers)), ", ".join(found.stray_numbers)),
        "citation_recall": _share(found.statements, found.uncited, "no statement"),
        "citation_precision": _share(found.citations, found.idle, "no citation"),
        "cited_page": (ranking.page_hit(question, pages), "") if question.pages and pages else (None, "no gold page or citation"),
    }


def _ranking_scores(question: Question, answer: Answer) -> dict[str, Scored]:
    names = ("hit@1", "hit@5", "recall@5", "mrr@10", "ndcg@10")
    if not answer.hits or not question.answerable:
        return dict.fromkeys((*names, "page_hit@5"), (None, "unanswerable" if answer.hits else "no passages"))
    found: dict[str, Scored] = dict.fromkeys(names, (None, "the question has no gold quote"))
    if question.quote.strip():
        relevant = ranking.relevance(question, answer.hits)
        evidence = f"gold at rank {relevant.index(True) + 1}" if any(relevant) else "gold quote not retrieved"
        values = (
            ranking.hit_at(relevant, 1),
            ranking.hit_at(relevant, 5),
            ranking.recall_at(question, answer.hits, 5),
            ranking.reciprocal_rank(relevant, 10),
            ranking.ndcg(relevant, 10),
        )
        found = {name: (value, evidence) for name, value in zip(names, values, strict=True)}
    pages = [hit.chunk.pages for hit in answer.hits[:5]]
    paged = bool(question.pages) and any(pages)
    found["page_hit@5"] = (ranking.page_hit(question, pages), "") if paged else (None, "no page numbers")
    return found


def _cost_scores(_: Question, answer: Answer) -> dict[str, Scored]:
    timed = [answer.timings[stage] for stage in ("retrieve", "generate") if stage in answer.timings]
    return {
        "latency": (sum(timed), "") if timed else (None, "no timings"),
        "answer_words": (None, "refused") if answer.abstained else (float(len(answer.text.split())), ""),
    }


_SCORERS: tuple[Callable[[Question, Answer], dict[str, Scored]], ...] = (
    _answer_scores,
    _refusal_scores,
    _grounding_scores,
    _ranking_scores,
    _cost_scores,
)


def _share(total: int, bad: Sequence[str], nothing: str) -> Scored:
    return (1 - len(bad) / total, " / ".join(bad)) if total else (None, nothing)


def _unmarked(text: str) -> str:
    return CITATION.sub("", text)


def _score(question_id: str, metric: str, value: float | None, note: str) -> Score:
    return Score(question_id, metric, value, reason=note if value is None else "", evidence="" if value is None else note)
