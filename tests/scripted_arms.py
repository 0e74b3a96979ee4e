"""Arms whose right and wrong answers are known beforehand, for the tests of eval."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from emendo.records import Answer, Chunk, Hit, Question
from rag.answer import Ask
from rag.citations import resolve_citations
from rag.prompt import PROMPT_VERSION, REFUSAL

Say = Callable[[Question], str]


def make_questions(n: int, unanswerable: int = 0, per_section: int = 1) -> list[Question]:
    """`n` questions on invented settings of a machine, the last `unanswerable` of them without an answer."""
    found = []
    for i in range(n):
        answerable = i < n - unanswerable
        quote = f"Setting {i} of the boiler is kept at {100 + i} kPa for {20 + i} seconds."
        found.append(
            Question(
                id=f"q{i:03d}",
                question=f"What pressure does setting {i} want?" if answerable else f"Which colours is part {i} sold in?",
                answerable=answerable,
                answer=quote if answerable else "",
                facts=(f"{100 + i} kPa", f"{20 + i} seconds") if answerable else (),
                pages=("3",) if answerable else (),
                quote=quote if answerable else "",
                category="unanswerable" if not answerable else ("lookup" if i % 2 else "table"),
                cluster=f"boiler/{i // per_section}",
            )
        )
    return found


def right(question: Question) -> str:
    return f"{question.answer} [1]" if question.answerable else REFUSAL


def half_right(question: Question) -> str:
    return f"It is kept at {question.facts[0]}. [1]" if question.answerable else REFUSAL


def wrong(question: Question) -> str:
    return "It is kept at 9999 kPa. [1]"


def refuse(question: Question) -> str:
    return REFUSAL


class ScriptedArm:
    """Answers each question as `say` has it, over one passage that holds the gold quote. Counts what it was asked."""

    def __init__(
        self, questions: Sequence[Question], say: Say, model_id: str = "scripted", adapter_id: str = "", rag: bool = True
    ):
        self.known = {question.question: question for question in questions}
        self.say, self.model_id, self.adapter_id, self.rag = say, model_id, adapter_id, rag
        self.asked: list[str] = []

    def answer_many(self, asks: Sequence[Ask]) -> list[Answer]:
        self.asked += [ask.question for ask in asks]
        return [self._answer(self.known[ask.question]) for ask in asks]

    def _answer(self, question: Question) -> Answer:
        passage = question.quote or "The machine comes with a drip tray and a portafilter."
        chunk = Chunk(f"c{question.id}", "boiler", "Boiler", "Boiler", ("Settings",), passage, "Boiler > Settings", (3,))
        hits = (Hit(chunk, 1.0, 1),) if self.rag else ()
        text = self.say(question)
        return Answer(
            answer_id=uuid.uuid4().hex,
            question=question.question,
            standalone=question.question,
            text=text,
            citations=resolve_citations(text, hits),
            hits=hits,
            abstained=text == REFUSAL,
            confidence=1.0,
            model_id=self.model_id,
            adapter_id=self.adapter_id,
            prompt_version=PROMPT_VERSION,
            index_id="index-1" if self.rag else "",
            timings={"retrieve": 0.01, "generate": 0.2},
        )
