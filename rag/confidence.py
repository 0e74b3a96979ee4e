"""How likely it is that the hits hold an answer: a logistic regression on features that mean the same in any manual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from emendo.records import Hit
from rag.evidence import FEATURES as UNIT_FEATURES
from rag.evidence import Evidence
from rag.fusion import Terms
from rag.lexical import codes, telling_words

PASSAGES = 4  # best hits looked at
COEFFICIENTS = {  # fitted by benchmarks/fit_confidence.py; docs/answers.md tells on what
    "unit_cosine": 5.88,  # the best of any unit
    "hit_cosine": 5.3,  # the best of any passage
    "evidence": 2.91,  # score of the best unit, in tens
    "codes_missing": -1.17,  # the question names a code that no passage has
    "question_length": 0.82,  # log(1 + its words that tell something)
    "time": 0.35,  # it asks for a time, and the best unit has one
    "least_likeness": 1.88,  # of the question's words: the word that the best unit's passage is farthest from mentioning
}
INTERCEPT = -9.97  # .3 below the fit's, so that .35 refuses nine of ten questions about something else
FEATURES = tuple(COEFFICIENTS)
_COSINE, _TIME = (UNIT_FEATURES.index(name) for name in ("cosine", "time"))
_USUAL_LIKENESS = 0.2  # its median, taken where the embedder has no vectors of words

Likest = Callable[[Sequence[str], str], Sequence[float]]  # of each word, its likeness with the likest word of a text


def answer_confidence(question: str, terms: Terms, hits: Sequence[Hit], evidence: Sequence[Evidence], likest: Likest) -> float:
    """0..1; 0 without hits. `evidence` is that of the hits, see rag.evidence; `likest` is UnitVectors.likest."""
    if not hits or not evidence:
        return 0.0
    features = confidence_features(question, terms, hits, evidence, likest)
    return 1 / (1 + math.exp(-INTERCEPT - sum(c * f for c, f in zip(COEFFICIENTS.values(), features, strict=True))))


def confidence_features(
    question: str, terms: Terms, hits: Sequence[Hit], evidence: Sequence[Evidence], likest: Likest
) -> tuple[float, ...]:
    """The values of FEATURES, for at least one hit with one unit."""
    looked_at = [e for e in evidence if e.unit.passage < PASSAGES]
    best = max(looked_at, key=lambda e: e.score)
    chunk = hits[best.unit.passage].chunk
    texts = [" ".join((*hit.chunk.section, hit.chunk.text)) for hit in hits[:PASSAGES]]
    missing = set(codes(question)) - set(codes("\n".join(texts)))
    return (
        max(e.features[_COSINE] for e in looked_at),
        max(0.0, *(hit.stages.get("dense_cosine", 0.0) for hit in hits[:PASSAGES])),
        best.score / 10,
        float(bool(missing)),
        math.log1p(len(terms.order)),
        best.features[_TIME],
        min(likest(telling_words(question), f"{' '.join(chunk.section[-2:])}\n{chunk.text}"), default=_USUAL_LIKENESS),
    )
