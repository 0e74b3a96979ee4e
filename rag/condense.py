"""A follow-up question made to stand alone, by rule and without a model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emendo.records import Answer
from emendo.words import content_words

_POINTER = re.compile(r"\b(it|its|that|this|those|these|them|they|there|one|ones|then|else|instead|same)\b", re.I)
_OPENER = re.compile(r"^\s*(and|but|or|so|also|what about|how about|ok|okay|then|why)\b", re.I)
_ASKS = re.compile(r"^\s*(how|what|when|where|which|who|why|can|could|do|does|is|are|should|will|would)\b", re.I)
_VERB = re.compile(r"\b(do|does|did|is|are|was|were|can|could|should|shall|must|may|might|will|would|has|have)\b", re.I)
# a thing, a code, or an action with its object: "how do I change opacity"
_NAMED = re.compile(r"\b(the|an?|my|our|your)\s+\w|\w*\d|\bhow\s+\w+\s+(i|you|we)\s+\w+\s+\w", re.I)

_MANUAL = re.compile(r"\s+(?:(?:user|owner|instruction|reference)(?:['’]?s['’]?)?\s+)?(?:manual|guide|handbook)\b", re.I)

_ASKED_BACK = "Which product is this about: "
_MOST_NAMED = 5  # products


def ask_back(products: Sequence[str]) -> str:
    """The question back when the manuals of several products say the same; of many it names some and tells their number."""
    short = list(dict.fromkeys(_MANUAL.sub("", product) for product in products))
    names = short if len(short) == len(products) else list(products)
    if len(names) > _MOST_NAMED:
        names = [*names[: _MOST_NAMED - 1], f"another of the {len(names)} whose manuals say much the same"]
    return f"{_ASKED_BACK}{', '.join(names[:-1])} or {names[-1]}?"


def needs_history(question: str) -> bool:
    """Whether the question leans on what was said before: it points back, opens as a continuation, or is very short.

    `How do I clean the filter?` is as short and leans on nothing: two words of content, a verb, and the thing is named.
    """
    words = content_words(question)
    whole = len(words) == 2 and bool(_VERB.search(question) and _NAMED.search(question))
    short = len(words) <= 2 and not whole
    return short or bool(_OPENER.search(question)) or (bool(_POINTER.search(question)) and len(words) <= 6)


def is_reply(question: str, history: Sequence[Answer]) -> bool:
    """Whether it names the product that was asked back for, and asks nothing by itself."""
    return bool(history) and history[-1].text.startswith(_ASKED_BACK) and not _ASKS.search(question)


def condense(question: str, history: Sequence[Answer]) -> str:
    """The question to search for: itself, or, when it leans on the last turn, with that one's question put before it.

    Before that stands the question that the last turn leaned on itself, if any: two of them, however long the conversation.

    The reply to a question back names the product of the question before it, unless it asks something else.
    """
    if not history or not (is_reply(question, history) or needs_history(question)):
        return question
    last = history[-1]
    if last.standalone == last.question:
        return f"{last.question} {question}"
    first = next((turn.question for turn in reversed(history) if turn.standalone == turn.question), "")
    return f"{first} {last.question} {question}".strip()
