"""Where the gold evidence stands among the retrieved passages: hit, recall, reciprocal rank, nDCG, page."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from emendo.records import Hit, Question
from eval.facts import normalise
from eval.grounding import passage_text

_WORD = re.compile(r"\w+")
_LEAST_SHARE = 0.6  # of the gold quote's word trigrams that a passage must hold to be a hit


def trigrams(text: str) -> set[tuple[str, ...]]:
    """Word trigrams; a shorter text is one of its own length."""
    words = _WORD.findall(normalise(text))
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))} if words else set()


def relevance(question: Question, hits: Sequence[Hit]) -> list[bool]:
    """For each hit in rank order, whether it holds the gold quote; chunk ids are not compared, so a re-index changes nothing."""
    gold = trigrams(question.quote)
    return [_share(gold, [hit]) >= _LEAST_SHARE for hit in hits]


def hit_at(relevant: Sequence[bool], k: int) -> float:
    return float(any(relevant[:k]))


def recall_at(question: Question, hits: Sequence[Hit], k: int) -> float:
    """Share of the gold quote's trigrams in the first k passages together: a quote may straddle two chunks."""
    return _share(trigrams(question.quote), hits[:k])


def reciprocal_rank(relevant: Sequence[bool], k: int = 10) -> float:
    """1 / rank of the first hit within k, else 0; its mean is MRR@k."""
    return next((1 / rank for rank, good in enumerate(relevant[:k], 1) if good), 0.0)


def ndcg(relevant: Sequence[bool], k: int = 10) -> float:
    """Binary nDCG@k (Järvelin & Kekäläinen 2002). Ideal: every retrieved passage that holds the quote comes first."""
    gained = sum(1 / math.log2(rank + 1) for rank, good in enumerate(relevant[:k], 1) if good)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, sum(relevant)) + 1))
    return gained / ideal if ideal else 0.0


def page_hit(question: Question, pages: Sequence[tuple[int, ...]]) -> float:
    """Whether any of the given page lists holds a gold page."""
    return float(any(str(page) in question.pages for group in pages for page in group))


def _share(gold: set[tuple[str, ...]], hits: Sequence[Hit]) -> float:
    if not gold:
        return 0.0
    if min(map(len, gold)) < 3:  # a quote of one or two words
        words = _WORD.findall(" ".join(normalise(passage_text(hit)) for hit in hits))
        return float(set(next(iter(gold))) <= set(words))
    held = set().union(*(trigrams(passage_text(hit)) for hit in hits)) if hits else set()
    return len(gold & held) / len(gold)
