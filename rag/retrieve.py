"""Question -> hits: search by meaning and by words within the right product, fuse, rank by best sentences, drop near-copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emendo.records import Chunk, Hit
from emendo.units import split_units
from emendo.words import stems
from rag.confidence import PASSAGES, answer_confidence
from rag.embedder import Embedder
from rag.evidence import Evidence, find_evidence
from rag.focus import cut_to_evidence
from rag.fusion import FusionWeights, fused_scores, inverse_frequency, question_terms
from rag.index import Index
from rag.passages import grow_hits
from rag.scope import ProductNames, Scope, chosen_scope
from rag.unit_vectors import UnitVectors


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
    code_weight: float = FusionWeights.code
    length_weight: float = FusionWeights.length
    sentence_weight: float = FusionWeights.sentence
    reranked: int = 10  # best passages that are ranked again with their best sentence
    same_above: float = 0.9  # share of words two passages of one product may have in common before the lower one is dropped
    find_product: bool = True  # search only the product that the question names
    section_characters: int = 2000  # a passage is shown with its section's text around it up to this; 0 shows it alone


class Retriever:
    """Searches one open index. Holds no state of a question, so threads may share it."""

    def __init__(self, index: Index, embedder: Embedder, settings: RetrieveSettings | None = None):
        self.index = index
        self.embedder = embedder
        self.settings = settings or RetrieveSettings()
        self._documents = index.documents()
        self._names = ProductNames(self._documents, index.sizes())
        self._rareness: dict[str, float] = {}
        self.unit_vectors = UnitVectors(embedder)
        s = self.settings
        self._weights = FusionWeights(
            s.lexical_weight,
            s.dense_weight,
            s.coverage_weight,
            s.adjacency_weight,
            s.label_weight,
            s.code_weight,
            s.length_weight,
            s.sentence_weight,
        )

    def search(self, question: str, k: int = 8, product: str = "") -> list[Hit]:
        """The `k` best passages, best first; [] for a question without a word. UserError for an unknown product."""
        if not question.strip():
            return []
        scope = self.scope(question, product)
        dense = dict(self._dense(question, scope))
        lexical = dict(self._lexical(question, scope))
        chunks = self.index.get_chunks(list(dense | lexical))
        scores = fused_scores(question_terms(question, self.rareness), chunks, dense, lexical, self._weights)
        sentence = self._sentence_cosines(question, _ranked(chunks, scores)[: self.settings.reranked])
        lowest = min(sentence.values(), default=0.0)  # the others' best sentence is taken for no nearer than these
        for chunk in chunks:
            scores[chunk.chunk_id] += self._weights.sentence * sentence.get(chunk.chunk_id, lowest)
        kept = _without_copies(_ranked(chunks, scores), k, self.settings.same_above)
        stages = _stages(dense, lexical)
        for chunk_id, cosine in sentence.items():
            stages[chunk_id]["sentence_cosine"] = cosine
        return [
            Hit(c, scores[c.chunk_id], rank, stages[c.chunk_id] | {"fused": scores[c.chunk_id]}) for rank, c in enumerate(kept, 1)
        ]

    def passages(self, question: str, k: int = 8, product: str = "") -> list[Hit]:
        """Like `search`, each hit with the text of its section around it, and none twice: what a person or an LLM reads."""
        return self.grow(self.search(question, 2 * k, product))[:k]

    def grow(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits with the text of their sections around them (see rag.passages)."""
        return grow_hits(self.index, hits, self.settings.section_characters)

    def confidence(self, question: str, hits: Sequence[Hit], evidence: Sequence[Evidence] | None = None) -> float:
        """0..1, that the hits hold an answer to the question (see rag.confidence). `evidence` is found where it is not given."""
        if evidence is None:
            evidence = self.evidence(question, hits[:PASSAGES])
        return answer_confidence(question, question_terms(question, self.rareness), hits, evidence)

    def evidence(self, question: str, hits: Sequence[Hit]) -> list[Evidence]:
        """Every sentence, step and row of the hits in reading order, and how well it answers the question."""
        return find_evidence(question, question_terms(question, self.rareness), hits, self.unit_vectors.cosines)

    def focus(self, question: str, hits: Sequence[Hit], passages: int, units: int) -> tuple[list[Hit], list[Evidence]]:
        """The best `passages` of the hits, each cut to its best `units` units in a row, and how well these answer (rag.focus)."""
        return cut_to_evidence(self.evidence(question, hits), hits, passages, units)

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

    def _sentence_cosines(self, question: str, chunks: Sequence[Chunk]) -> dict[str, float]:
        """chunk_id -> cosine of the question and the chunk's best sentence, step or row."""
        if not self._weights.sentence:
            return {}
        units = [(chunk.chunk_id, unit.text) for chunk in chunks for unit in split_units(chunk.text, 0)]
        best: dict[str, float] = {}
        cosines = self.unit_vectors.cosines(question, [text for _, text in units])
        for (chunk_id, _), cosine in zip(units, cosines, strict=True):
            best[chunk_id] = max(cosine, best.get(chunk_id, -1.0))
        return best

    def _dense(self, question: str, scope: Scope) -> list[tuple[str, float]]:
        if not self.settings.use_dense:
            return []
        return self.index.dense(self.embedder.encode([question])[0], self.settings.candidates, scope.doc_ids)

    def _lexical(self, question: str, scope: Scope) -> list[tuple[str, float]]:
        if not self.settings.use_lexical:
            return []
        return self.index.lexical(question, self.settings.candidates, scope.doc_ids)


def tied_products(hits: Sequence[Hit], same_above: float = 0.6) -> tuple[str, ...]:
    """The products whose manuals say the same as the best hit, best first, () when only its own does.

    Manuals of look-alike products share whole sections; which product is meant must then be asked. Passages say the same when
    they share more than `same_above` of their words. Nothing is tied where a product was chosen or named: only it is searched.
    """
    if not hits:
        return ()
    words = stems(hits[0].chunk.text)
    same = [hit.chunk.product for hit in hits if _overlap(words, stems(hit.chunk.text)) > same_above]
    products = tuple(dict.fromkeys(same))
    return products if len(products) > 1 else ()


def _ranked(chunks: Sequence[Chunk], scores: dict[str, float]) -> list[Chunk]:
    """Best first; equal scores keep the manual's order, so that a result never depends on the order of a dictionary."""
    return sorted(chunks, key=lambda chunk: (-scores[chunk.chunk_id], chunk.doc_id, chunk.position))


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
