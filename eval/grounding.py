"""Whether an answer stands on its passages: supported sentences, numbers from nowhere, and ALCE citation recall and precision.

Support is deterministic: all numbers of the sentence stand in the passage, and at least 60 % of its content words do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from emendo.records import Answer, Hit
from emendo.words import content_words
from eval.facts import normalise
from rag.citations import CITATION, split_sentences, supports

_NUMBER = re.compile(r"\d+(?:[.:]\d+)*")
_STEP_NUMBER = re.compile(r"(?m)^\s*\d{1,2}[.)]\s")


@dataclass(frozen=True)
class Grounding:
    """Counts of one answer; lists hold the offending pieces of its text."""

    sentences: int
    unsupported: tuple[str, ...]  # sentences that no retrieved passage supports
    stray_numbers: tuple[str, ...]  # numbers in no retrieved passage
    statements: int  # sentences, those before a shared mark taken together as they are cited
    uncited: tuple[str, ...]  # statements that the passages they cite do not support
    citations: int
    idle: tuple[str, ...]  # citations that do not support, or that the others make needless


def check_grounding(answer: Answer) -> Grounding:
    """Compare an answer with its own hits."""
    passages = [passage_text(hit) for hit in answer.hits]
    sentences = [CITATION.sub("", sentence).strip() for sentence in split_sentences(answer.text)]
    sentences = [sentence for sentence in sentences if content_words(sentence)]
    unsupported = tuple(s for s in sentences if not any(supports(passage, s) for passage in passages))
    statements = _statements(answer, sentences)
    uncited, idle = [], []
    for text, marks in statements:
        cited = [passages[n - 1] for n in marks]
        whole = bool(cited) and supports("\n".join(cited), text)
        if not whole:
            uncited.append(text)
        for place, mark in enumerate(marks):
            rest = "\n".join(cited[:place] + cited[place + 1 :])
            # ALCE (Gao et al. 2023): a citation is idle when its statement is unsupported, or it does not support alone and
            # the others do without it.
            if not whole or (not supports(cited[place], text) and supports(rest, text)):
                idle.append(f"[{mark}] {text}")
    return Grounding(
        sentences=len(sentences),
        unsupported=unsupported,
        stray_numbers=stray_numbers(answer.text, passages),
        statements=len(statements),
        uncited=tuple(uncited),
        citations=sum(len(marks) for _, marks in statements),
        idle=tuple(idle),
    )


def passage_text(hit: Hit) -> str:
    """The passage as the model saw it."""
    return f"{hit.chunk.header}\n{hit.chunk.text}"


def stray_numbers(text: str, sources: Sequence[str]) -> tuple[str, ...]:
    """Numbers of the text that no source holds, in order; citation marks and the numbers of steps do not count."""
    known = {number for source in sources for number in _NUMBER.findall(normalise(source))}
    said = _NUMBER.findall(normalise(_STEP_NUMBER.sub(" ", CITATION.sub(" ", text))))
    return tuple(dict.fromkeys(number for number in said if number not in known))


def _statements(answer: Answer, sentences: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Each cited text with its marks, then each sentence without any."""
    marks: dict[str, list[int]] = {}
    for citation in answer.citations:
        if 1 <= citation.n <= len(answer.hits):
            marks.setdefault(citation.quote, []).append(citation.n)
    cited = " ".join(marks)
    return [*marks.items(), *((sentence, []) for sentence in sentences if sentence not in cited)]
