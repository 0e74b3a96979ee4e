"""Signs of overfitting in what a tuned model says: training answers repeated where no passage holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emendo.records import Answer
from eval.facts import normalise
from eval.grounding import passage_text
from rag.citations import CITATION
from rag.prompt import is_refusal

_WORD = re.compile(r"\w+")
_RUN = 8  # words in a row; shorter runs are everyday language


@dataclass(frozen=True)
class Regurgitation:
    """Answers of one arm that hold a run of 8 words from a training answer which stands in none of their passages."""

    answers: int  # that were not refusals
    repeated: tuple[str, ...]  # ids of the questions


def find_regurgitation(answers: Mapping[str, Answer], training_answers: Sequence[str]) -> Regurgitation:
    """Look for training answers in the answers to test questions; both are compared word by word, normalised."""
    learned = set().union(*(_runs(answer) for answer in training_answers if not is_refusal(answer)))
    given = {question_id: answer for question_id, answer in answers.items() if not answer.abstained}
    repeated = []
    for question_id, answer in given.items():
        copied = _runs(answer.text) & learned
        if copied and not copied <= set().union(*(_runs(passage_text(hit)) for hit in answer.hits)):
            repeated.append(question_id)
    return Regurgitation(len(given), tuple(repeated))


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(normalise(CITATION.sub(" ", text)))
    return {tuple(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1)}
