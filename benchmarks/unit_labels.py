"""Whether a unit of a passage holds the gold answer: most of a quote's word trigrams, or half of the facts on a gold page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emendo.records import Hit
from eval.facts import states
from rag.citations import CITATION


def holds_gold(unit: str, hit: Hit, gold: Sequence[str], facts: Sequence[str], pages: Sequence[str]) -> bool:
    words = _trigrams(unit)
    for quote in gold:
        wanted = _trigrams(CITATION.sub("", quote))
        shared = len(words & wanted)
        if shared >= 0.5 * len(wanted) or (len(words) >= 2 and shared >= 0.7 * len(words)):
            return True
    on_page = not hit.chunk.pages or not {str(page) for page in hit.chunk.pages}.isdisjoint(pages)
    stated = sum(states(unit, fact) for fact in facts if len(fact) > 2)  # shorter ones are in many units by chance
    return on_page and stated > 0 and 2 * stated >= len(facts)


def _trigrams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)} or {tuple(words)}
