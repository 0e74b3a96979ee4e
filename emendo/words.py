"""Words of a text, the same way for searching, quoting and checking."""

from __future__ import annotations

import re
from functools import lru_cache

STOP_WORDS = frozenset(
    """a an and any are as at be been but by can could do does for from has have how i if in into is it its me my no not of on
    or our so should that the their then there these this to was we what when where which while who why will with would you
    your""".split()
)
_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)*")
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:[.,][0-9]+)*")  # the same of lower-case ASCII, in half the time
_CJK_CHARACTER = re.compile(
    "[\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f]"
)
_CJK = re.compile(f"({_CJK_CHARACTER.pattern}+)")
_SUFFIX = re.compile(r"(?<=\w{3})(ies|ing|ed|es|s|e|y)$")


def content_words(text: str) -> list[str]:
    """Lower-case words in order, stop words left out, numbers with their decimals kept.

    Chinese, Japanese and Korean do not part words by spaces: their runs give every two neighbouring characters, which search
    engines have used for long (Nie et al. 2000, "On the use of words and n-grams for Chinese information retrieval").
    """
    if text.isascii():
        words = _ASCII_WORD.findall(text.lower())
    else:
        words = [part for word in _WORD.findall(text.lower()) for part in _parts(word)]
    return [word for word in words if word not in STOP_WORDS]


def cjk_parts(text: str) -> list[str]:
    """What an index must hold so that words of a text in CJK scripts are found: their characters, pairs, and the rest."""
    found = [word for word in _WORD.findall(text.lower()) if _CJK.search(word)]
    return [part for word in found for part in (*_parts(word), *_CJK_CHARACTER.findall(word))]


def _parts(word: str) -> list[str]:
    if word.isascii() or not _CJK.search(word):
        return [word]
    parts: list[str] = []
    for piece in _CJK.split(word):  # runs are at odd places
        run = bool(_CJK.fullmatch(piece))
        parts += [piece[n : n + 2] for n in range(max(len(piece) - 1, 1))] if run else [piece] if piece else []
    return parts


@lru_cache(maxsize=4096)  # passages and their sentences: the same are compared with many questions
def stem_sequence(text: str) -> tuple[str, ...]:
    """Content words in order with plural and verb endings cut, so that `descaling` meets `descale`."""
    return tuple(_stem(word) for word in content_words(text))


@lru_cache(maxsize=100_000)  # a search stems some thousand words, few of them for the first time
def _stem(word: str) -> str:
    return _SUFFIX.sub("", word)


def stems(text: str) -> set[str]:
    """The different stems of a text."""
    return set(stem_sequence(text))
