"""Scores of task answers: one value per row for the paired tests, and the tables that only a whole arm has.

Precision, recall and F1 as in scikit-learn's `precision_recall_fscore_support` (a class that is never predicted has precision 0);
entity F1 counts a term as found when its wording and its type are right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emendo.records import Answer, Question, Score
from eval.metrics import score_answer
from eval.scoring import Scoring
from sft.tasks import Kind, Task, parse_output

PRIMARY: dict[Kind, str] = {"label": "label_accuracy", "list": "list_f1", "spans": "span_f1", "text": "fact_recall"}
GUARDS: dict[Kind, str] = {"label": "", "list": "list_precision", "spans": "span_precision", "text": "token_precision"}
_NAMES: dict[Kind, tuple[str, ...]] = {
    "label": ("label_accuracy",),
    "list": ("list_f1", "list_precision", "list_recall", "list_successes"),
    "spans": ("span_f1", "span_precision", "span_recall", "term_f1"),
    "text": ("fact_recall", "rouge_l", "token_f1", "token_precision", "token_recall", "answer_words"),
}


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class; `support` is how often it is right, `predicted` how often it was given."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True)
class LabelTable:
    """All classes of one arm; `confusion` counts (gold, given) pairs, given may be a text that is no class."""

    classes: tuple[ClassScore, ...]
    macro_f1: float
    accuracy: float
    confusion: Mapping[tuple[str, str], int]


def scoring_for(task: Task) -> Scoring:
    """The metrics of a task and the function that scores one answer of it."""
    names = (*_NAMES[task.kind], "latency")

    def score(question: Question, answer: Answer) -> list[Score]:
        own = _item_scores(task, question, answer) if task.kind != "text" else {}
        known = {s.metric: s for s in score_answer(question, answer)} | own
        return [known[name] for name in names]

    return Scoring(names, score)


def label_table(gold: Sequence[str], given: Sequence[str], labels: Sequence[str]) -> LabelTable:
    """Per class and macro scores of two equally long lists of labels."""
    if not gold or len(gold) != len(given):
        raise ValueError(f"{len(gold)} gold labels and {len(given)} given ones")
    confusion = Counter(zip(gold, given, strict=True))
    classes = []
    for label in labels:
        right, support, predicted = confusion[label, label], gold.count(label), given.count(label)
        precision, recall, f1 = prf(right, predicted, support)
        classes.append(ClassScore(label, precision, recall, f1, support, predicted))
    accuracy = sum(confusion[label, label] for label in labels) / len(gold)
    return LabelTable(tuple(classes), sum(c.f1 for c in classes) / len(classes), accuracy, dict(confusion))


def prf(right: int, given: int, wanted: int) -> tuple[float, float, float]:
    """(precision, recall, F1) from counts; 0 where there is nothing to divide by, as scikit-learn has it."""
    precision, recall = right / given if given else 0.0, right / wanted if wanted else 0.0
    return precision, recall, 2 * right / (given + wanted) if given + wanted else 0.0


def micro_f1(task: Task, questions: Sequence[Question], answers: Mapping[str, Answer]) -> float:
    """F1 over the items of all rows together, as entity recognition is usually reported."""
    pairs = [(_gold(task, q), _given(task, answers[q.id])) for q in questions if q.id in answers]
    return prf(sum(len(g & a) for g, a in pairs), sum(len(a) for _, a in pairs), sum(len(g) for g, _ in pairs))[2]


def _item_scores(task: Task, question: Question, answer: Answer) -> dict[str, Score]:
    gold, given = _gold(task, question), _given(task, answer)
    right = gold & given
    precision, recall, f1 = prf(len(right), len(given), len(gold))
    if task.kind == "label":
        values = {"label_accuracy": float(bool(right))}
    elif task.kind == "list":
        values = {"list_f1": f1, "list_precision": precision, "list_recall": recall, "list_successes": float(len(right))}
    else:
        terms = [{item.rpartition(" = ")[0] or item for item in side} for side in (gold, given)]
        term_f1 = prf(len(terms[0] & terms[1]), len(terms[1]), len(terms[0]))[2]
        values = {"span_f1": f1, "span_precision": precision, "span_recall": recall, "term_f1": term_f1}
    missed, wrong = "; ".join(sorted(gold - given)), "; ".join(sorted(given - gold))
    evidence = " · ".join(part for part in (f"missed: {missed}" * bool(missed), f"wrong: {wrong}" * bool(wrong)) if part)
    return {name: Score(question.id, name, value, evidence=evidence or "all right") for name, value in values.items()}


def _gold(task: Task, question: Question) -> set[str]:
    return set(parse_output(task, question.answer))


def _given(task: Task, answer: Answer) -> set[str]:
    found = parse_output(task, answer.text) if answer.text.strip() else ()
    return set(found[: task.k] if task.kind == "list" else found)
