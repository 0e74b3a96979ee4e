"""Passages that say what a better one has said: revisions of a text, and what look-alike products' manuals share."""

from __future__ import annotations

from collections.abc import Sequence

from emendo.records import Chunk
from emendo.words import stems
from rag.fusion import sameness


def overlap(a: set[str], b: set[str]) -> float:
    """Share, 0..1, of two texts' words that both have (Jaccard); 1 for two without a word."""
    return len(a & b) / len(a | b) if a | b else 1.0


def products_of(chunks: Sequence[Chunk]) -> dict[tuple[str, ...], list[str]]:
    """rag.fusion.sameness of each chunk -> the products whose manuals say that, in the order of the chunks."""
    products: dict[tuple[str, ...], dict[str, None]] = {}
    for chunk in chunks:
        products.setdefault(sameness(chunk), {})[chunk.product] = None
    return {said: list(names) for said, names in products.items()}


def different_chunks(
    chunks: Sequence[Chunk], scores: dict[str, float], k: int, same_above: float, diversity: float
) -> list[Chunk]:
    """The best `k` chunks that repeat no better one: in the same product most of its words, in another all that it says.

    Revisions of one text are common, and manuals of look-alike products share whole sections. `same_above` 1 keeps them all.

    With `diversity` each next one is that with the best score less `diversity` times its likeness to one chosen before (maximal
    marginal relevance, Carbonell and Goldstein 1998); without it the order is that of the chunks.
    """
    kept: list[tuple[Chunk, set[str]]] = []
    left = [(chunk, stems(chunk.text)) for chunk in chunks] if diversity else []
    for chunk in chunks:
        if len(kept) == k:
            break
        words = stems(chunk.text)
        if left:
            chunk, words = max(left, key=lambda one: scores[one[0].chunk_id] - diversity * _likeness(one[1], kept))
            left.remove((chunk, words))
        if same_above == 1 or not any(_repeats(chunk, words, *other, same_above) for other in kept):
            kept.append((chunk, words))
    return [chunk for chunk, _ in kept]


def _repeats(chunk: Chunk, words: set[str], other: Chunk, others_words: set[str], same_above: float) -> bool:
    if chunk.product == other.product:
        return overlap(words, others_words) > same_above
    return sameness(chunk) == sameness(other)


def _likeness(words: set[str], kept: Sequence[tuple[Chunk, set[str]]]) -> float:
    return max((overlap(words, other) for _, other in kept), default=0.0)
