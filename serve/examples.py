"""Example questions made from the headings of the indexed manuals."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import zip_longest

_ACTIONS = (
    "adjust assemble attach build calibrate change charge check choose clean configure connect create disable dispose download "
    "enable exclude export find fit format import insert install load log maintain mount open operate pair prepare program "
    "remove repair replace reset restart restore run save secure select set start stop store switch sync test troubleshoot turn "
    "uninstall update upgrade use verify"
).split()
_DULL = re.compile(
    r"^(table of )?contents|^(index|introduction|overview|notes?|operating systems?)$|^about|copyright|licen[cs]e|^appendix"
    r"| (and|or) \w+ing\b",
    re.I,
)
_OF_A_NAME = re.compile(
    r"^(conditions?|information|instructions?|kits?|modes?|ranges?|systems?|temperatures?|times?|tools?|voltages?)$", re.I
)
_NUMBERING = re.compile(r"^(?:chapter|section|part)?\s*[\dA-Z]{0,2}(?:\.\d+)*[.:)]?\s+(?=[A-Z])", re.I)


def example_questions(documents: Iterable[Iterable[tuple[str, ...]]], most: int = 4) -> list[str]:
    """At most `most` questions from the section paths of each document, the documents taking turns."""
    turns = zip_longest(*(_questions_of(sections) for sections in documents))
    return [question for turn in turns for question in turn if question][:most]


def _questions_of(sections: Iterable[tuple[str, ...]]) -> list[str]:
    """Headings that name an action or a question come first."""
    headings = dict.fromkeys(_NUMBERING.sub("", path[-1]).strip() for path in sections if path)
    asked = [question_of(heading) for heading in headings if 4 < len(heading) < 60 and not _DULL.search(heading)]
    return sorted(asked, key=lambda question: question.startswith("What does"))


def question_of(heading: str) -> str:
    """`Replacing the battery` -> `How do I replace the battery?`"""
    if heading.endswith("?"):
        return heading
    if heading.lower().startswith("how to "):
        return f"How do I {heading[7:]}?"
    heading = heading.lower() if heading.isupper() and " " in heading else heading
    first, _, rest = heading.partition(" ")
    action = _action(first.lower())
    if action and rest and not _OF_A_NAME.search(rest):  # "Charging time" is no instruction
        return f"How do I {action} {_uncapitalised(rest)}?"
    return f"What does the manual say about {_uncapitalised(heading)}?"


def _action(word: str) -> str:
    """The verb a heading begins with, in its plain form; "" for another word."""
    stem = word.removesuffix("ing")
    candidates = [word] if stem == word else [stem, f"{stem}e", stem[:-1]]  # install-ing, replac-ing, set-t-ing
    return next((candidate for candidate in candidates if candidate in _ACTIONS), "")


def _uncapitalised(text: str) -> str:
    """With a small first letter, unless it begins with an abbreviation."""
    return text if text[:2].isupper() else text[0].lower() + text[1:]
