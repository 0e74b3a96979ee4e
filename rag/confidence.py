"""How likely it is that the hits hold an answer: a logistic regression on features that mean the same in any manual."""

from __future__ import annotations

import math
from collections.abc import Sequence

from emendo.records import Hit
from emendo.words import stem_sequence, stems
from rag.fusion import Terms, adjacency, coverage

FEATURES = ("cosine", "coverage", "coverage_of_best", "adjacency")
COEFFICIENTS = (10.96, 1.35, 2.62, 3.45)  # fitted by benchmarks/fit_confidence.py; docs/retrieval.md tells on what
INTERCEPT = -5.83
_TOP = 3  # passages looked at


def answer_confidence(terms: Terms, hits: Sequence[Hit]) -> float:
    """0..1; 0 without hits."""
    if not hits:
        return 0.0
    features = confidence_features(terms, hits)
    return 1 / (1 + math.exp(-INTERCEPT - sum(c * f for c, f in zip(COEFFICIENTS, features, strict=True))))


def confidence_features(terms: Terms, hits: Sequence[Hit]) -> tuple[float, ...]:
    """The values of FEATURES, each between 0 and 1, for at least one hit."""
    texts = [" ".join((*hit.chunk.section, hit.chunk.text)) for hit in hits[:_TOP]]
    cosine = max(hit.stages.get("dense_cosine", 0.0) for hit in hits[:_TOP])
    best = max(coverage(terms, stems(text)) for text in texts)
    return max(cosine, 0.0), coverage(terms, stems("\n".join(texts))), best, adjacency(terms, *map(stem_sequence, texts))
