"""Two rankings and what the passages say, made one score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from emendo.records import Chunk
from emendo.words import stems


@dataclass(frozen=True)
class FusionWeights:
    """Weights of features that are all between 0 and 1 and mean the same in any manual; fitted as docs/retrieval.md tells."""

    lexical: float = 1.0  # BM25 as a share of the best candidate's
    dense: float = 1.0  # cosine
    coverage: float = 0.5  # share of the question's words found in header and text, rare words counting more


def fused_scores(
    question: str,
    chunks: Sequence[Chunk],
    dense: Mapping[str, float],
    lexical: Mapping[str, float],
    rareness: Callable[[str], float],
    weights: FusionWeights,
) -> dict[str, float]:
    """chunk_id -> score, higher is better. `dense` and `lexical` hold the candidates' cosines and BM25 scores.

    Plain rank fusion was worse than its lexical side alone: a weak side's first place counts there as much as a strong one's.
    """
    best = max(lexical.values(), default=0.0) or 1.0
    lowest = min(dense.values(), default=0.0)  # a chunk outside the dense list is no nearer than its last
    scores = {}
    for chunk in chunks:
        score = weights.lexical * lexical.get(chunk.chunk_id, 0.0) / best
        score += weights.dense * dense.get(chunk.chunk_id, lowest)
        score += weights.coverage * coverage(question, f"{chunk.header}\n{chunk.text}", rareness)
        scores[chunk.chunk_id] = score
    return scores


def coverage(question: str, text: str, rareness: Callable[[str], float]) -> float:
    """Share, 0..1, of the question's content words that stand in the text, each counted by its rareness."""
    wanted = {stem: rareness(stem) for stem in stems(question)}
    total = sum(wanted.values())
    present = stems(text)
    return sum(weight for stem, weight in wanted.items() if stem in present) / total if total else 0.0


def inverse_frequency(found_in: int, total: int) -> float:
    """BM25's weight of a term that `found_in` of `total` passages hold (Robertson and Zaragoza 2009); above 0."""
    return math.log(1 + (total - found_in + 0.5) / (found_in + 0.5))
