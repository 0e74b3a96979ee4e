"""How likely it is that the hits hold an answer: a logistic regression on features that mean the same in any manual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from emendo.records import Hit
from rag.fusion import coverage

FEATURES = ("cosine", "coverage", "coverage_of_top")
COEFFICIENTS = (6.0, 3.0, 1.5)  # fitted by benchmarks/fit_confidence.py; see docs/retrieval.md
INTERCEPT = -5.0


def answer_confidence(question: str, hits: Sequence[Hit], rareness: Callable[[str], float]) -> float:
    """0..1; 0 without hits."""
    if not hits:
        return 0.0
    features = confidence_features(question, hits, rareness)
    return 1 / (1 + math.exp(-INTERCEPT - sum(c * f for c, f in zip(COEFFICIENTS, features, strict=True))))


def confidence_features(question: str, hits: Sequence[Hit], rareness: Callable[[str], float]) -> tuple[float, ...]:
    """The values of FEATURES, each between 0 and 1."""
    texts = [f"{hit.chunk.header}\n{hit.chunk.text}" for hit in hits[:3]]
    cosine = max(hit.stages.get("dense_cosine", 0.0) for hit in hits[:3])
    return max(cosine, 0.0), coverage(question, "\n".join(texts), rareness), coverage(question, texts[0], rareness)
