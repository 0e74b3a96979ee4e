"""Question -> hits: search by meaning and by words within the right product, fuse, rank by best sentences, drop near-copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from emendo.records import Chunk, Hit
from emendo.units import split_units
from emendo.words import stems
from rag.confidence import PASSAGES, answer_confidence
from rag.embedder import Embedder
from rag.evidence import Evidence, find_evidence, follow_up_evidence
from rag.focus import cut_to_evidence
from rag.fusion import FusionWeights, Terms, coverage, fused_scores, inverse_frequency, question_terms, sameness
from rag.index import Index, indexed_text
from rag.near_copies import different_chunks, overlap, products_of
from rag.passages import grow_hits
from rag.product_words import ProductWordsCache
from rag.rerank import CrossEncoderRanker
from rag.scope import ProductNames, Scope, chosen_scope
from rag.unit_vectors import UnitVectors

_STAY = 0.97  # share of the whole collection's confidence that keeps a conversation with its product; docs/retrieval.md
_STAY_ASKED = 0.6  # the same for a follow-up's own words: "and how often?" says little, "and the kettle's filter?" enough
_STAY_KIND = 0.7  # the same for the product whose kind the question says ("the router"); docs/retrieval.md
_EMBEDDED = 32  # sentences of all reranked passages whose cosine is taken, the best by words first: it is what costs time


@dataclass(frozen=True)
class RetrieveSettings:
    """[retrieve] in emendo.toml."""

    candidates: int = 50  # taken from each of the two searches
    use_dense: bool = True  # search by meaning
    use_lexical: bool = True  # search by words
    lexical_weight: float = FusionWeights.lexical  # of BM25, as a share of the best candidate's
    dense_weight: float = FusionWeights.dense  # of the cosine
    coverage_weight: float = FusionWeights.coverage  # of the share of the question's words that are found
    adjacency_weight: float = FusionWeights.adjacency  # of the share of neighbouring words that are neighbours there, too
    label_weight: float = FusionWeights.label  # of the best short line (a menu entry, a run-in heading)
    code_weight: float = FusionWeights.code  # of codes (E02) that head the section, a line or a row
    length_weight: float = FusionWeights.length  # of length, up to 300 characters
    sentence_weight: float = FusionWeights.sentence  # of the cosine of the best sentence; of the reranked
    words_weight: float = FusionWeights.words  # of the likeness of words; of the reranked
    reranked: int = 10  # best passages that are ranked again with their best sentence and their words' likeness
    rerank: str = ""  # a cross-encoder that orders those again, hf:<id or folder>; "" is off
    # share of words two passages of one product may have in common before the lower one is dropped; 1: any
    same_above: float = 0.9
    diversity: float = 0.0  # what a passage loses per share of words it has in common with a better one (MMR)
    find_product: bool = True  # search only the product that the question names
    section_characters: int = 2000  # a passage is shown with its section's text around it up to this; 0 shows it alone


class Retriever:
    """Searches one open index. Holds no state of a question, so threads may share it."""

    def __init__(self, index: Index, embedder: Embedder, settings: RetrieveSettings | None = None):
        self.index = index
        self.embedder = embedder
        self.settings = settings or RetrieveSettings()
        self._documents = index.documents()
        sizes = index.sizes()
        self._names = ProductNames(self._documents, sizes)
        self._product_words = ProductWordsCache(index, sizes)
        self._rareness: dict[tuple[frozenset[str] | None, str], float] = {}
        self.unit_vectors = UnitVectors(embedder)
        self._cross_encoder = CrossEncoderRanker(self.settings.rerank) if self.settings.rerank else None
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
            s.words_weight,
        )

    def search(self, question: str, k: int = 8, product: str = "") -> list[Hit]:
        """The `k` best passages, best first; [] for a question without a word. UserError for an unknown product."""
        if not question.strip():
            return []
        return self._search(question, k, self.scope(question, product))

    def search_turn(self, standalone: str, question: str, k: int = 8, product: str = "") -> list[Hit]:
        """Like `search`, for a question in a conversation: a quarter of the passages are those of the question as it was asked.

        `standalone` carries what was said before; where the subject changed, the question alone finds more.
        """
        return self._with_own(self.search(standalone, k, product), standalone, question, k, product)

    def _with_own(self, hits: list[Hit], standalone: str, question: str, k: int, product: str) -> list[Hit]:
        """The `k` hits of the standalone question, the last quarter of them those of the question as it was asked."""
        if question == standalone or not question.strip():
            return hits
        own = self.scope(question, product)
        raw = self._search(question, k, own if own.doc_ids else self.scope(standalone, product))
        shown = hits[: k - k // 4]
        held = {hit.chunk.chunk_id for hit in shown}
        added = [hit for hit in raw if hit.chunk.chunk_id not in held][: k - len(shown)]
        lowest = min((hit.score for hit in shown), default=0.0)
        return [*shown, *(replace(hit, rank=len(shown) + n, score=min(hit.score, lowest)) for n, hit in enumerate(added, 1))]

    def _search(self, question: str, k: int, scope: Scope) -> list[Hit]:
        question = self._names.without_name(question, scope)
        dense = dict(self._dense(question, scope))
        lexical = dict(self._lexical(question, scope))
        chunks = self.index.get_chunks(list(dense | lexical))
        terms = self._terms(question, scope)
        scores = fused_scores(terms, chunks, dense, lexical, self._weights)
        stages = _stages(dense, lexical)
        different: dict[tuple[str, ...], Chunk] = {}
        for chunk in _ranked(chunks, scores):
            different.setdefault(sameness(chunk), chunk)
        best = list(different.values())[: self.settings.reranked]
        for name, weight, values in (
            ("sentence_cosine", self._weights.sentence, self._sentence_cosines(question, terms, best)),
            ("word_likeness", self._weights.words, self._word_likeness(question, best)),
        ):
            found = dict(zip(map(sameness, best), values, strict=True))
            lowest = min(values, default=0.0)  # the others are taken for no better than the worst of these
            for chunk in chunks:
                scores[chunk.chunk_id] += weight * found.get(sameness(chunk), lowest)
                if sameness(chunk) in found:
                    stages[chunk.chunk_id][name] = found[sameness(chunk)]
        if self._cross_encoder:
            self._reorder(question, _ranked(chunks, scores)[: self.settings.reranked], scores, stages)
        ranked = _ranked(chunks, scores)
        products = products_of(ranked)
        kept = different_chunks(ranked, scores, k, self.settings.same_above, self.settings.diversity)
        return [
            Hit(
                chunk,
                scores[chunk.chunk_id],
                rank,
                stages[chunk.chunk_id] | {"fused": scores[chunk.chunk_id]},
                tuple(product for product in products[sameness(chunk)] if product != chunk.product),
            )
            for rank, chunk in enumerate(kept, 1)
        ]

    def passages(self, question: str, k: int = 8, product: str = "", standalone: str = "") -> list[Hit]:
        """Like `search`, each hit with the text of its section around it, and none twice: what a person or an LLM reads.

        `standalone` is the question with what was said before it (rag.condense), where something was.
        """
        hits = self.search(standalone or question, 2 * k, product)
        if standalone and standalone != question:
            best = self._with_own(hits[:k], standalone, question, k, product)
            held = {hit.chunk.chunk_id for hit in best}
            hits = [*best, *(hit for hit in hits if hit.chunk.chunk_id not in held)]
        return self.grow(hits)[:k]

    def grow(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits with the text of their sections around them (see rag.passages)."""
        return grow_hits(self.index, hits, self.settings.section_characters)

    def confidence(
        self, question: str, hits: Sequence[Hit], evidence: Sequence[Evidence] | None = None, product: str = ""
    ) -> float:
        """0..1, that the hits hold an answer to the question (see rag.confidence). `evidence` is found where it is not given."""
        if evidence is None:
            evidence = self.evidence(question, hits[:PASSAGES], product)
        terms = self.terms(question, product, hits)
        return answer_confidence(question, terms, hits, evidence, self.unit_vectors.likest)

    def evidence(self, question: str, hits: Sequence[Hit], product: str = "") -> list[Evidence]:
        """Every sentence, step and row of the hits in reading order, and how well it answers the question."""
        return find_evidence(question, self.terms(question, product, hits), hits, self.unit_vectors.cosines)

    def evidence_turn(self, standalone: str, question: str, hits: Sequence[Hit], product: str = "") -> list[Evidence]:
        """Like `evidence`, for a question in a conversation, by what it asks itself and with what was said before.

        By what was said before alone, the sentence that answered the earlier question would answer each follow-up, too.
        """
        evidence = self.evidence(standalone, hits, product)
        if question == standalone:
            return evidence
        own = self.evidence(question, hits, product)
        return [follow_up_evidence(unit, asked) for unit, asked in zip(evidence, own, strict=True)]

    def focus(
        self, question: str, hits: Sequence[Hit], passages: int, units: int, product: str = ""
    ) -> tuple[list[Hit], list[Evidence]]:
        """The best `passages` of the hits, each cut to its best `units` units in a row, and how well these answer (rag.focus)."""
        return cut_to_evidence(self.evidence(question, hits, product), hits, passages, units)

    def scope(self, question: str, product: str = "") -> Scope:
        """Where this question is searched."""
        if product.strip():
            return chosen_scope(product, self._documents)
        return self._names.named_scope(question) if self.settings.find_product else Scope()

    def product_for(self, question: str, product: str = "") -> str:
        """The product that a question asked by itself is searched in: the chosen one, else the one whose kind it says, or ""."""
        return product or self.product_of_conversation(question, ())

    def product_of_conversation(self, question: str, earlier: Sequence[str], asked: str = "") -> str:
        """The product that the conversation is about: the one whose kind this question says ("the router"), else the one that the
        last of the `earlier` questions to name one product named.

        "" where none did, where this question names one itself, and where the whole collection answers it with more confidence
        than that product's manuals, with what was said before it or as it was `asked`: the subject has changed, or the
        robot's manual speaks of "the router".
        """
        if not self.settings.find_product or not question.strip() or self.scope(question).doc_ids:
            return ""
        kind = self._names.product_of_kind(asked or question)
        if kind and self._stays(question, kind, _STAY_KIND):
            return kind
        named = (self._names.named_product(text) for text in reversed(earlier))
        product = next((name for name in named if name), "")
        if not product:
            return ""
        if asked.strip() and asked != question and not self._stays(asked, product, _STAY_ASKED):
            return ""
        return product if self._stays(question, product, _STAY) else ""

    def _stays(self, question: str, product: str, share: float) -> bool:
        """Whether the product's manuals answer with at least this share of the whole collection's confidence (1 at most)."""
        within = self.confidence(question, self.search(question, PASSAGES, product), product=product)
        return within >= share or within >= share * self.confidence(question, self.search(question, PASSAGES))

    def tied_products(self, question: str, hits: Sequence[Hit], same_above: float = 0.6) -> tuple[str, ...]:
        """The products whose manuals say the same as the best hit, best first; () when no other hit does.

        Manuals of look-alike products share whole sections; which product is meant must then be asked. Passages say the same when
        they share more than `same_above` of their words. Once two hits do, the others are looked for by the best one's vector.
        """
        if not hits:
            return ()
        best = hits[0].chunk
        words = stems(best.text)

        def same(chunks: Sequence[Chunk]) -> list[str]:
            return [chunk.product for chunk in chunks if overlap(words, stems(chunk.text)) > same_above]

        found = [best.product, *hits[0].also_in, *same([hit.chunk for hit in hits])]
        if len(set(found)) < 2:
            return ()
        vector = self.unit_vectors.vectors([indexed_text(best)])[0]
        near = self.index.dense(vector, self.settings.candidates, self.scope(question).doc_ids)
        return tuple(dict.fromkeys([*found, *same(self.index.get_chunks([chunk_id for chunk_id, _ in near]))]))

    def terms(self, question: str, product: str = "", hits: Sequence[Hit] = ()) -> Terms:
        """The question's words, each with its rareness where it is searched, or in the product that the best hits are all of."""
        scope = self.scope(question, product)
        products = {hit.chunk.product for hit in hits[:PASSAGES]}
        if scope.doc_ids is None and len(products) == 1:
            scope = Scope(frozenset(d.doc_id for d in self._documents if d.product in products))
        return self._terms(question, scope)

    def _terms(self, question: str, scope: Scope) -> Terms:
        return question_terms(question, lambda word: self._rare(word, scope))

    def _rare(self, word: str, scope: Scope) -> float:
        """Weight of a word by how few of the passages searched hold it."""
        if (scope.doc_ids, word) not in self._rareness:
            words = self._product_words.get(scope.doc_ids)
            found, total = (
                (words.document_frequency(word), words.chunks)
                if words
                else (self.index.document_frequency(word), self.index.manifest.chunks)
            )
            self._rareness[scope.doc_ids, word] = inverse_frequency(found, total)
        return self._rareness[scope.doc_ids, word]

    def _sentence_cosines(self, question: str, terms: Terms, chunks: Sequence[Chunk]) -> list[float]:
        """Of each chunk, the cosine of the question and its best sentence, step or row of those with most of its words."""
        if not self._weights.sentence:
            return [0.0] * len(chunks)
        units = [(n, unit.text) for n, chunk in enumerate(chunks) for unit in split_units(chunk.text, 0)]
        if len(units) > _EMBEDDED:
            units = sorted(units, key=lambda unit: -coverage(terms, stems(unit[1])))[:_EMBEDDED]
        best: dict[int, float] = {}
        cosines = self.unit_vectors.cosines(question, [text for _, text in units])
        for (n, _), cosine in zip(units, cosines, strict=True):
            best[n] = max(cosine, best.get(n, cosine))
        lowest = min(best.values(), default=0.0)
        return [best.get(n, lowest) for n in range(len(chunks))]

    def _word_likeness(self, question: str, chunks: Sequence[Chunk]) -> list[float]:
        """How like the question's words are to those of each chunk and its last two headings."""
        if not self._weights.words:
            return [0.0] * len(chunks)
        return self.unit_vectors.word_likeness(question, [f"{' '.join(sameness(c)[-3:-1])}\n{c.text}" for c in chunks])

    def _reorder(
        self, question: str, best: Sequence[Chunk], scores: dict[str, float], stages: dict[str, dict[str, float]]
    ) -> None:
        """Give the scores of the best chunks to the same chunks in the cross-encoder's order."""
        assert self._cross_encoder is not None
        found = self._cross_encoder.scores(question, [f"{chunk.header}\n{chunk.text}" for chunk in best])
        held = [scores[chunk.chunk_id] for chunk in best]
        order = sorted(range(len(best)), key=lambda n: -found[n])
        for score, n in zip(held, order, strict=True):
            scores[best[n].chunk_id] = score
            stages[best[n].chunk_id]["rerank_score"] = found[n]

    def _dense(self, question: str, scope: Scope) -> list[tuple[str, float]]:
        if not self.settings.use_dense:
            return []
        return self.index.dense(self.unit_vectors.vectors([question])[0], self.settings.candidates, scope.doc_ids)

    def _lexical(self, question: str, scope: Scope) -> list[tuple[str, float]]:
        if not self.settings.use_lexical:
            return []
        words = self._product_words.get(scope.doc_ids)
        if words:
            return words.lexical(question, self.settings.candidates)
        return self.index.lexical(question, self.settings.candidates, scope.doc_ids)


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
