"""What the index holds of a document, and what each step of a search made of a question."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from emendo.records import Chunk, Hit, UserError
from emendo.words import stems
from rag.embedder import Embedder
from rag.index import Index
from rag.lexical import query_terms
from rag.retrieve import Retriever, RetrieveSettings


@dataclass(frozen=True)
class ChunkSize:
    """A chunk and how much of the embedder's window it fills."""

    chunk: Chunk
    header_tokens: int
    tokens: int  # header and text together, special tokens not counted


@dataclass(frozen=True)
class Ranked:
    """A hit and the question's words it holds, as stems, rarest first."""

    hit: Hit  # its `stages` tell each search's rank and score
    found: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class SearchTrace:
    """One search, step by step."""

    question: str
    searched: tuple[str, ...]  # doc_ids; () is the whole index
    terms: tuple[str, ...]  # what the words side looked for
    rareness: dict[str, float]  # weight of each stem of the question: BM25's inverse document frequency
    confidence: float  # 0..1, that the hits hold an answer
    ranked: tuple[Ranked, ...]
    seconds: dict[str, float]  # per step; `fusion and the rest` is what no other step took


def document_chunks(index: Index, embedder: Embedder, name: str) -> list[ChunkSize]:
    """The chunks, in reading order, of the document with this doc_id, title or file. UserError naming the nearest."""
    documents = index.documents()
    wanted = name.strip().casefold()
    found = [d.doc_id for d in documents if wanted in (d.doc_id.casefold(), d.title.casefold(), d.source.casefold())]
    if not found:
        known = [d.doc_id for d in documents]
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"no document {name!r} in the index; {hint}`emendo documents` lists them")
    if len(found) > 1:
        raise UserError(f"{len(found)} documents are called {name!r}; give one of {', '.join(found)}")
    return [_size(chunk, embedder) for chunk in index.chunks(found[0])]


def trace_search(
    index: Index, embedder: Embedder, settings: RetrieveSettings, question: str, k: int = 8, product: str = ""
) -> SearchTrace:
    """Search as the answers do and keep what happened on the way."""
    product = Retriever(index, embedder, settings).product_for(question, product)
    clock: dict[str, float] = defaultdict(float)
    timed = Retriever(_Timed(index, clock), _Timed(embedder, clock), settings)  # type: ignore[arg-type]
    embedder.encode([question])  # the model is loaded and warm before anything is timed
    clock.clear()
    start = time.perf_counter()
    hits = timed.search(question, k=k, product=product)
    total = time.perf_counter() - start
    seconds = dict(clock) | {"fusion and the rest": total - sum(clock.values()), "total": total}
    terms = timed.terms(question, product)
    rarest_first = sorted(terms.weight, key=lambda stem: -terms.weight[stem])
    return SearchTrace(
        question=question,
        searched=tuple(sorted(timed.scope(question, product).doc_ids or ())),
        terms=tuple(query_terms(question)),
        rareness={stem: terms.weight[stem] for stem in rarest_first},
        confidence=timed.confidence(question, hits, product=product),
        ranked=tuple(_rank(hit, rarest_first) for hit in hits),
        seconds=seconds,
    )


def _size(chunk: Chunk, embedder: Embedder) -> ChunkSize:
    header = embedder.count_tokens(chunk.header)
    return ChunkSize(chunk, header, header + embedder.count_tokens(chunk.text))


def _rank(hit: Hit, wanted: list[str]) -> Ranked:
    present = stems(" ".join((*hit.chunk.section, hit.chunk.text)))
    found = tuple(stem for stem in wanted if stem in present)
    return Ranked(hit, found, tuple(stem for stem in wanted if stem not in present))


_STEPS = {
    "encode": "embedding",
    "dense": "search by meaning",
    "lexical": "search by words",
    "word_rows": "search by words",
    "word_vectors": "embedding",
    "document_frequency": "rareness of words",
    "get_chunks": "reading passages",
}


class _Timed:
    """Stands for an index or an embedder and adds up the seconds its steps take."""

    def __init__(self, inner: Any, clock: dict[str, float]):
        self._inner = inner
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return self._measured(_STEPS[name], value) if name in _STEPS else value

    def _measured(self, step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                self._clock[step] += time.perf_counter() - start

        return measured
