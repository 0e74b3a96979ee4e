"""Which questions the tuned model fixed and which it broke, and how each arm refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emendo.records import Answer, Question
from eval.evaluation import ArmResult, Evaluation
from eval.grounding import passage_text, stray_numbers
from eval.intervals import Interval, wilson


@dataclass(frozen=True)
class Side:
    """One arm's answer to a flipped question."""

    text: str
    value: float
    evidence: str  # of the primary score
    stray: tuple[str, ...]  # numbers that stand in no passage
    passages: tuple[str, ...]  # header and text, in prompt order


@dataclass(frozen=True)
class Flip:
    question: Question
    before: Side
    after: Side

    @property
    def change(self) -> float:
        return self.after.value - self.before.value


@dataclass(frozen=True)
class Refusals:
    """Refusals of one arm: counts, and shares of what they are counted over with their Wilson intervals."""

    unanswerable_refused: int
    unanswerable_answered: int
    answerable_refused: int
    answerable_answered: int

    @property
    def precision(self) -> tuple[float | None, Interval]:
        """Of the refusals, those of unanswerable questions; undefined (None) without a refusal."""
        return _share(self.unanswerable_refused, self.unanswerable_refused + self.answerable_refused)

    @property
    def recall(self) -> tuple[float | None, Interval]:
        """Of the unanswerable questions, those refused; undefined without one."""
        return _share(self.unanswerable_refused, self.unanswerable_refused + self.unanswerable_answered)


def find_flips(evaluation: Evaluation) -> list[Flip]:
    """Questions whose primary score changed with RAG, the largest change first, gains before losses of the same size."""
    first, second = evaluation.arm(evaluation.before), evaluation.arm(evaluation.after)
    if first is None or second is None:
        return []
    found = []
    for question in evaluation.questions:
        sides = [_side(question, arm, evaluation.policy.primary) for arm in (first, second)]
        if sides[0] and sides[1] and abs(sides[0].value - sides[1].value) > 1e-9:
            found.append(Flip(question, sides[0], sides[1]))
    return sorted(found, key=lambda flip: (-abs(flip.change), -flip.change, flip.question.id))


def refusals(questions: Sequence[Question], arm: ArmResult) -> Refusals:
    """The confusion matrix of refusing, from the answers' own `abstained`."""
    answered = [(question.answerable, arm.answers[question.id].abstained) for question in questions if question.id in arm.answers]
    return Refusals(
        unanswerable_refused=answered.count((False, True)),
        unanswerable_answered=answered.count((False, False)),
        answerable_refused=answered.count((True, True)),
        answerable_answered=answered.count((True, False)),
    )


def _side(question: Question, arm: ArmResult, metric: str) -> Side | None:
    score = arm.scores[metric].get(question.id)
    if score is None or score.value is None:
        return None
    answer: Answer = arm.answers[question.id]
    passages = tuple(passage_text(hit) for hit in answer.hits)
    stray = () if answer.abstained else stray_numbers(answer.text, passages)
    return Side(answer.text, score.value, score.evidence, stray, passages)


def _share(part: int, whole: int) -> tuple[float | None, Interval]:
    return (part / whole if whole else None), wilson(part, whole)
