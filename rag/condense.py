"""A follow-up question made to stand alone, by rule and without a model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emendo.records import Answer
from emendo.words import content_words

_POINTER = re.compile(r"\b(it|its|that|this|those|these|them|they|there|one|ones|then|else|instead|same)\b", re.I)
_OPENER = re.compile(r"^\s*(and|but|or|so|also|what about|how about|ok|okay|then|why)\b", re.I)
_VERB = re.compile(r"\b(do|does|did|is|are|was|were|can|could|should|shall|must|may|might|will|would|has|have)\b", re.I)
_NAMED = re.compile(r"\b(the|an?|my|our|your)\s+\w|\w*\d", re.I)  # a thing, or a code

_ASKED_BACK = "Which product is this about: "


def ask_back(products: Sequence[str]) -> str:
    """The question back when the manuals of several products say the same."""
    return f"{_ASKED_BACK}{', '.join(products[:-1])} or {products[-1]}?"


def needs_history(question: str) -> bool:
    """Whether the question leans on what was said before: it points back, opens as a continuation, or is very short.

    `How do I clean the filter?` is as short and leans on nothing: two words of content, a verb, and the thing is named.
    """
    words = content_words(question)
    whole = len(words) == 2 and bool(_VERB.search(question) and _NAMED.search(question))
    short = len(words) <= 2 and not whole
    return short or bool(_OPENER.search(question)) or (bool(_POINTER.search(question)) and len(words) <= 6)


def condense(question: str, history: Sequence[Answer]) -> str:
    """The question to search for: itself, or with the last turn's question put before it when it leans on that.

    The reply to a question back names the product of the question before it.
    """
    if not history or not (needs_history(question) or history[-1].text.startswith(_ASKED_BACK)):
        return question
    return f"{history[-1].standalone} {question}"
