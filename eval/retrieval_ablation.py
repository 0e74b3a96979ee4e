"""What each step of the search adds, on the user's own questions: the same questions asked with one step more in each row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emendo.records import Chunk, Hit, Question, UserError
from eval.evaluation import Estimate
from eval.metrics import METRIC
from eval.ranking import hit_at, reciprocal_rank, trigrams
from eval.scoring import cluster_labels, estimate
from eval.stats import Comparison, compare
from rag.embedder import Embedder
from rag.index import Index, indexed_text
from rag.retrieve import Retriever, RetrieveSettings

_LEAST_SHARE = 0.6  # of word trigrams
_LONGEST = 4000  # characters of a passage that count: a longer one finds nothing by its length
_DEPTH = 10  # ranks looked at
_BATCH = 256

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Step:
    """One row of the table."""

    name: str
    hit_at_1: Estimate
    hit_at_5: Estimate
    reciprocal_rank: Estimate  # within 10
    against_above: Comparison | None  # of the reciprocal ranks, against the row above; None in the first
    ranks: tuple[tuple[str, int], ...]  # question id, rank of the first hit; 0 where none is among the first 10


class OtherVectors:
    """An index whose dense side compares other vectors of the same passages; all else is the index's own."""

    def __init__(self, index: Index, embedder: Embedder, text_of: Callable[[Chunk], str], progress: Progress, name: str):
        self._index = index
        chunks = [chunk for document in index.documents() for chunk in index.chunks(document.doc_id)]
        self._ids = [chunk.chunk_id for chunk in chunks]
        self._documents = np.array([chunk.doc_id for chunk in chunks])
        texts = [text_of(chunk) for chunk in chunks]
        different = list(dict.fromkeys(texts))
        vectors = []
        for start in range(0, len(different), _BATCH):
            vectors.append(embedder.encode(different[start : start + _BATCH]))
            progress(f"embedding for {name}", min(start + _BATCH, len(different)), len(different))
        place = {text: row for row, text in enumerate(different)}
        self._vectors = np.concatenate(vectors)[[place[text] for text in texts]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def dense(self, vector: np.ndarray, k: int, doc_ids: Iterable[str] | None = None) -> list[tuple[str, float]]:
        cosines = self._vectors @ vector
        if doc_ids is not None:
            cosines = np.where(np.isin(self._documents, list(doc_ids)), cosines, -2.0)
        best = np.argsort(-cosines, kind="stable")[:k]
        return [(self._ids[row], float(cosines[row])) for row in best if cosines[row] >= -1.5]


def ablate(
    questions: Sequence[Question],
    index: Index,
    embedder: Embedder,
    stock: Embedder,
    settings: RetrieveSettings,
    product: str = "",
    progress: Progress = lambda what, done, total: None,
) -> list[Step]:
    """The rows from a plain dense search to the whole one. `embedder` made the index; `stock` is the one before it was adapted.

    Only answerable questions with a quote (or, without one, an answer) count; UserError when there is none.
    """
    asked = [question for question in questions if question.answerable and (question.quote or question.answer)]
    if not asked:
        raise UserError("no question can be scored: each needs `answerable` true and a `quote` of the manual")
    clusters = cluster_labels(asked)
    steps: list[Step] = []
    before: list[float] = []
    for name, search in _variants(index, embedder, stock, settings, progress):
        ranked = []
        for done, question in enumerate(asked, 1):
            hits = search(question.question, k=_DEPTH, product=product or question.product)
            ranked.append([holds_evidence(question, hit) for hit in hits])
            progress(name, done, len(asked))
        reciprocal = [reciprocal_rank(relevant, _DEPTH) for relevant in ranked]
        firsts = (relevant.index(True) + 1 if True in relevant else 0 for relevant in ranked)
        steps.append(
            Step(
                name,
                estimate([hit_at(relevant, 1) for relevant in ranked], clusters, METRIC["hit@1"]),
                estimate([hit_at(relevant, 5) for relevant in ranked], clusters, METRIC["hit@5"]),
                estimate(reciprocal, clusters, METRIC["mrr@10"]),
                compare(before, reciprocal, clusters) if steps else None,
                tuple((question.id, first) for question, first in zip(asked, firsts, strict=True)),
            )
        )
        before = reciprocal
    return steps


def gold_ranks(
    retriever: Retriever,
    embedder: Embedder,
    text_of: Callable[[Chunk], str],
    gold: Mapping[str, Collection[str]],
    progress: Progress,
) -> tuple[list[float], list[float]]:
    """Reciprocal ranks, 0 beyond 10, by the dense search and by the whole one, of each query in `gold` (query -> chunk_ids)."""
    index: Any = OtherVectors(retriever.index, embedder, text_of, progress, embedder.id)
    whole = Retriever(index, embedder, retriever.settings)
    dense, fused = [], []
    for query, right in gold.items():
        near = [name for name, _ in index.dense(embedder.encode([query])[0], _DEPTH)]
        found = [hit.chunk.chunk_id for hit in whole.search(query, k=_DEPTH)]
        dense.append(reciprocal_rank([name in right for name in near], _DEPTH))
        fused.append(reciprocal_rank([name in right for name in found], _DEPTH))
    return dense, fused


def holds_evidence(question: Question, hit: Hit) -> bool:
    """Whether 60 % of the trigrams of the gold quote or answer stand in the passage, or 60 % of the passage's in the quote."""
    passage = trigrams(hit.chunk.text[:_LONGEST])
    quote, answer = trigrams(question.quote), trigrams(question.answer)
    held = any(gold and len(gold & passage) / len(gold) >= _LEAST_SHARE for gold in (quote, answer))
    return held or (bool(passage) and len(passage & quote) / len(passage) >= _LEAST_SHARE)


def _variants(
    index: Index, embedder: Embedder, stock: Embedder, settings: RetrieveSettings, progress: Progress
) -> Iterator[tuple[str, Callable[..., list[Hit]]]]:
    """Each row's name and search, one at a time: a row's vectors are dropped before the next row's are made."""
    features = [field.name for field in dataclasses.fields(settings) if field.name.endswith("_weight")]
    off = {name: 0.0 for name in features if name not in ("lexical_weight", "dense_weight")}
    two_sides = dataclasses.replace(settings, use_dense=True, use_lexical=True, **off)  # type: ignore[arg-type]
    dense = dataclasses.replace(two_sides, use_lexical=False)
    plain: Any = OtherVectors(index, stock, lambda chunk: chunk.text, progress, "plain")
    yield "plain dense", Retriever(plain, stock, dense).search
    same = embedder.id == stock.id
    headed: Any = index if same else OtherVectors(index, stock, indexed_text, progress, "+ header")
    yield "+ header", Retriever(headed, stock, dense).search
    yield "+ lexical", Retriever(headed, stock, two_sides).search
    yield "+ fusion", Retriever(headed, stock, dataclasses.replace(settings, sentence_weight=0.0)).search
    if settings.sentence_weight:
        yield "+ rerank by sentences", Retriever(headed, stock, settings).search
    if not same:
        yield "+ adapted embedder", Retriever(index, embedder, settings).search
    yield "+ text around", Retriever(index, embedder, settings).passages
