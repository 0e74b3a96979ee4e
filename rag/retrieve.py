"""Question -> hits: search by meaning and by words within the right product, fuse, drop near-copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emendo.records import Chunk, Hit
from emendo.words import stems
from rag.confidence import answer_confidence
from rag.embedder import Embedder
from rag.focus import Focus
from rag.fusion import FusionWeights, fused_scores, inverse_frequency, question_terms
from rag.index import Index
from rag.scope import ProductNames, Scope, chosen_scope


@dataclass(frozen=True)
class RetrieveSettings:
    """[retrieve] in emendo.toml."""

    candidates: int = 50  # taken from each of the two searches
    use_dense: bool = True
    use_lexical: bool = True
    lexical_weight: float = FusionWeights.lexical
    dense_weight: float = FusionWeights.dense
    coverage_weight: float = FusionWeights.coverage
    adjacency_weight: float = FusionWeights.adjacency
    label_weight: float = FusionWeights.label
    same_above: float = 0.9  # share of words two passages of one product may have in common before the lower one is dropped
    find_product: bool = True  # search only the product that the question names


class Retriever:
    """Searches one open index. Holds no state of a question, so threads may share it."""

    def __init__(self, index: Index, embedder: Embedder, settings: RetrieveSettings | None = None):
        self.index = index
        self.embedder = embedder
        self.settings = settings or RetrieveSettings()
        self._documents = index.documents()
        self._names = ProductNames(self._documents)
        self._rareness: dict[str, float] = {}
        self.focus = Focus(embedder)
        s = self.settings
        self._weights = FusionWeights(s.lexical_weight, s.dense_weight, s.coverage_weight, s.adjacency_weight, s.label_weight)

    def search(self, question: str, k: int = 8, product: str = "") -> list[Hit]:
        """The `k` best passages, best first; [] for a question without a word. UserError for an unknown product."""
        if not question.strip():
            return []
        scope = self.scope(question, product)
        dense = dict(self._dense(question, scope))
        lexical = dict(self._lexical(question, scope))
        chunks = self.index.get_chunks(list(dense | lexical))
        scores = fused_scores(question_terms(question, self.rareness), chunks, dense, lexical, self._weights)
        # equal scores keep the manual's order, so that a result never depends on the order of a dictionary
        chunks.sort(key=lambda chunk: (-scores[chunk.chunk_id], chunk.doc_id, chunk.position))
        kept = _without_copies(chunks, k, self.settings.same_above)
        stages = _stages(dense, lexical)
        return [
            Hit(c, scores[c.chunk_id], rank, stages[c.chunk_id] | {"fused": scores[c.chunk_id]}) for rank, c in enumerate(kept, 1)
        ]

    def confidence(self, question: str, hits: Sequence[Hit]) -> float:
        """0..1, that the hits hold an answer to the question (see rag.confidence)."""
        return answer_confidence(question_terms(question, self.rareness), hits)

    def scope(self, question: str, product: str = "") -> Scope:
        """Where this question is searched."""
        if product.strip():
            return chosen_scope(product, self._documents)
        return self._names.named_scope(question) if self.settings.find_product else Scope()

    def rareness(self, word: str) -> float:
        """Weight of a word by how few chunks hold it."""
        if word not in self._rareness:
            self._rareness[word] = inverse_frequency(self.index.document_frequency(word), self.index.manifest.chunks)
        return self._rareness[word]

    def _dense(self, question: str, scope: Scope) -> list[tuple[str, float]]:
        if not self.settings.use_dense:
            return []
        return self.index.dense(self.embedder.encode([question])[0], self.settings.candidates, scope.doc_ids)

    def _lexical(self, question: str, scope: Scope) -> list[tuple[str, float]]:
        if not self.settings.use_lexical:
            return []
        return self.index.lexical(question, self.settings.candidates, scope.doc_ids)


def _stages(dense: dict[str, float], lexical: dict[str, float]) -> dict[str, dict[str, float]]:
    """chunk_id -> what each search said of it."""
    stages: dict[str, dict[str, float]] = {}
    for name, unit, found in (("dense", "cosine", dense), ("lexical", "score", lexical)):
        for rank, (chunk_id, score) in enumerate(found.items(), 1):
            stages.setdefault(chunk_id, {}).update({f"{name}_rank": float(rank), f"{name}_{unit}": score})
    return stages


def _without_copies(chunks: Sequence[Chunk], k: int, same_above: float) -> list[Chunk]:
    """The first `k` chunks that do not repeat a better one of the same product: revisions of one text are common."""
    kept: list[tuple[Chunk, set[str]]] = []
    for chunk in chunks:
        if len(kept) == k:
            break
        words = stems(chunk.text)
        if not any(c.product == chunk.product and _overlap(words, other) > same_above for c, other in kept):
            kept.append((chunk, words))
    return [chunk for chunk, _ in kept]


def _overlap(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0
