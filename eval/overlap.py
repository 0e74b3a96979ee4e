"""How much of a reference's wording an answer has: SQuAD token scores and ROUGE-L."""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import dataclass

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Overlap:
    precision: float
    recall: float
    f1: float


def token_overlap(answer: str, reference: str) -> Overlap:
    """Bag-of-tokens precision, recall and F1 by the rules of the SQuAD v2 evaluation (Rajpurkar et al. 2018).

    Lower case, no ASCII punctuation, no English articles. Where a side has no token all three are 1 if both have none, else 0.
    """
    said, gold = _squad_tokens(answer), _squad_tokens(reference)
    if not said or not gold:
        same = float(said == gold)
        return Overlap(same, same, same)
    return _overlap((Counter(said) & Counter(gold)).total(), len(said), len(gold))


def rouge_l(answer: str, reference: str) -> Overlap:
    """ROUGE-L (Lin 2004): longest common subsequence of words, of any script; case folded, no stemming."""
    said, gold = _WORD.findall(answer.casefold()), _WORD.findall(reference.casefold())
    if not said or not gold:
        same = float(said == gold)
        return Overlap(same, same, same)
    return _overlap(common_subsequence(said, gold), len(said), len(gold))


def common_subsequence(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence, with one machine word per row (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(first) - row.bit_count()


def _overlap(common: int, said: int, gold: int) -> Overlap:
    precision, recall = common / said, common / gold
    return Overlap(precision, recall, 2 * precision * recall / (precision + recall) if common else 0.0)


def _squad_tokens(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
