"""Words of a text, the same way for searching, quoting and checking."""

from __future__ import annotations

import re

STOP_WORDS = frozenset(
    """a an and any are as at be been but by can could do does for from has have how i if in into is it its me my no not of on
    or our so should that the their then there these this to was we what when where which while who why will with would you
    your""".split()
)
_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)*")
_SUFFIX = re.compile(r"(?<=\w{3})(ies|ing|ed|es|s|e|y)$")


def content_words(text: str) -> list[str]:
    """Lower-case words in order, stop words left out, numbers with their decimals kept."""
    return [word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


def stem_sequence(text: str) -> list[str]:
    """Content words in order with plural and verb endings cut, so that `descaling` meets `descale`."""
    return [_SUFFIX.sub("", word) for word in content_words(text)]


def stems(text: str) -> set[str]:
    """The different stems of a text."""
    return set(stem_sequence(text))
