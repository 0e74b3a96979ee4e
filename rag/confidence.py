"""How likely it is that the hits hold an answer: a logistic regression on features that mean the same in any manual."""

from __future__ import annotations

import math
from collections.abc import Sequence

from emendo.records import Hit
from emendo.words import stem_sequence
from rag.evidence import FEATURES as UNIT_FEATURES
from rag.evidence import Evidence
from rag.fusion import Terms, adjacency
from rag.lexical import codes

PASSAGES = 4  # best hits looked at
COEFFICIENTS = {  # fitted by benchmarks/fit_confidence.py; docs/answers.md tells on what
    "unit_cosine": 5.94,  # the best of any unit
    "hit_cosine": 1.25,  # the best of any passage
    "evidence": 3.12,  # score of the best unit, in tens
    "adjacency": 0.54,  # share of the question's neighbouring words that are neighbours in a passage, too
    "codes_missing": -1.1,  # the question names a code that no passage has
    "question_length": 1.23,  # log(1 + its words that tell something)
    "number": 0.34,  # it asks for a number, and the best unit has one
    "time": 0.88,  # it asks for a time, and the best unit has one
}
INTERCEPT = -9.17
FEATURES = tuple(COEFFICIENTS)
_COSINE, _NUMBER, _TIME = (UNIT_FEATURES.index(name) for name in ("cosine", "number", "time"))


def answer_confidence(question: str, terms: Terms, hits: Sequence[Hit], evidence: Sequence[Evidence]) -> float:
    """0..1; 0 without hits. `evidence` is that of the hits, see rag.evidence."""
    if not hits or not evidence:
        return 0.0
    features = confidence_features(question, terms, hits, evidence)
    return 1 / (1 + math.exp(-INTERCEPT - sum(c * f for c, f in zip(COEFFICIENTS.values(), features, strict=True))))


def confidence_features(question: str, terms: Terms, hits: Sequence[Hit], evidence: Sequence[Evidence]) -> tuple[float, ...]:
    """The values of FEATURES, for at least one hit with one unit."""
    looked_at = [e for e in evidence if e.unit.passage < PASSAGES]
    best = max(looked_at, key=lambda e: e.score)
    texts = [" ".join((*hit.chunk.section, hit.chunk.text)) for hit in hits[:PASSAGES]]
    missing = set(codes(question)) - set(codes("\n".join(texts)))
    return (
        max(e.features[_COSINE] for e in looked_at),
        max(0.0, *(hit.stages.get("dense_cosine", 0.0) for hit in hits[:PASSAGES])),
        best.score / 10,
        adjacency(terms, *map(stem_sequence, texts)),
        float(bool(missing)),
        math.log1p(len(terms.order)),
        best.features[_NUMBER],
        best.features[_TIME],
    )
