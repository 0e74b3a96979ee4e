"""The index as LangChain knows it: a `BaseRetriever` over the whole search, a `VectorStore` over its dense side."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore

from emendo.config import open_workspace
from emendo.records import Chunk, Document, UserError, content_id
from rag.assemble import Opener
from rag.embedder import Embedder
from rag.index import Index, Origin, SnapshotBuilder, indexed_text, open_index
from rag.snapshot import current_id, new_snapshot, remove_leftovers, writer_lock

_PLACE = "langchain:"  # where a text came from that no file holds


class EmendoRetriever(BaseRetriever):
    """Search by meaning and by words, fused and scoped to a product, as `emendo search` does."""

    searcher: Any  # a rag.retrieve.Retriever
    k: int = 8
    product: str = ""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None, product: str | None = None
    ) -> list[LangChainDocument]:
        product = self.searcher.product_for(query, self.product if product is None else product)
        hits = self.searcher.passages(query, k=self.k if k is None else k, product=product)
        found = [(to_langchain(hit.chunk), hit) for hit in hits]
        for document, hit in found:
            document.metadata["score"] = hit.score
        return [document for document, _ in found]


def open_retriever(workspace: str | None = None, k: int = 8, product: str = "") -> EmendoRetriever:
    """Over the live index of a workspace folder (default as on the command line), with its settings."""
    return EmendoRetriever(searcher=Opener(open_workspace(workspace)).retriever(), k=k, product=product)


class EmendoVectorStore(VectorStore):
    """Texts and manuals of one index, searched by cosine. Each change publishes a snapshot: add in batches, not one by one.

    Texts that a program adds are documents of their own, found by `emendo search` like any manual.
    """

    def __init__(self, directory: Path, embedder: Embedder):
        self._directory = directory
        self._embedder = embedder
        self._open: Index | None = None

    @property
    def embeddings(self) -> Embeddings:
        return self._embedder

    def add_texts(
        self, texts: Iterable[str], metadatas: list[dict] | None = None, *, ids: list[str] | None = None, **kwargs: Any
    ) -> list[str]:
        """Add texts, replacing those whose ids are known; returns the ids. UserError for an id that a manual has."""
        contents = list(texts)
        given = metadatas or [{} for _ in contents]
        names = [name or uuid.uuid4().hex for name in ids or [""] * len(contents)]
        if not len(contents) == len(given) == len(names):
            raise ValueError(f"{len(contents)} texts, {len(given)} metadatas and {len(names)} ids; expected as many of each")
        entries = {n: _entry(n, text, metadata) for n, text, metadata in zip(names, contents, given, strict=True)}
        if entries:
            vectors = self._embedder.encode([indexed_text(chunk) for _, chunk in entries.values()])
            self._change(lambda builder: _replace_all(builder, list(entries.values()), vectors), list(entries))
        return names

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """Remove added texts; unknown ids are passed over. UserError for a passage of a manual: manuals go as a whole."""
        if ids is None:
            raise UserError("no ids to delete; remove the index folder to delete everything")
        index = self._index()
        if index is None:
            return True
        for chunk in _known(index, ids):
            if chunk.doc_id != chunk.chunk_id:
                raise UserError(f"passage {chunk.chunk_id} belongs to a manual; run: emendo delete {chunk.doc_id}")
        self._change(lambda builder: [builder.remove(name) for name in ids], ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[LangChainDocument]:
        index = self._index()
        return [to_langchain(chunk) for chunk in _known(index, ids)] if index else []

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[LangChainDocument]:
        """The k nearest; `doc_ids=[...]` searches these documents alone."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[LangChainDocument, float]]:
        """With their cosines, higher is nearer."""
        return self._nearest(self._embedder.encode([query])[0], k, kwargs.get("doc_ids"))

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[LangChainDocument]:
        vector = np.asarray(embedding, dtype=np.float32)
        vector /= float(np.linalg.norm(vector)) or 1.0
        return [document for document, _ in self._nearest(vector, k, kwargs.get("doc_ids"))]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict] | None = None,
        *,
        ids: list[str] | None = None,
        directory: str = "workspace/index",
        **kwargs: Any,
    ) -> EmendoVectorStore:
        if not isinstance(embedding, Embedder):
            raise UserError(f"embedding is a {type(embedding).__name__}; expected one of rag.embedder.load_embedder(...)")
        store = cls(Path(directory), embedding)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: max(0.0, cosine)

    def _nearest(self, vector: Any, k: int, doc_ids: Iterable[str] | None) -> list[tuple[LangChainDocument, float]]:
        index = self._index()
        best = index.dense(vector, k, doc_ids) if index else []
        chunks = index.get_chunks([name for name, _ in best]) if index else []
        return [(to_langchain(chunk), score) for chunk, (_, score) in zip(chunks, best, strict=True)]

    def _index(self) -> Index | None:
        """The live snapshot, opened again after a change; None while there is none."""
        if self._open is None or not self._open.is_current():
            self._open = open_index(self._directory, self._embedder) if current_id(self._directory) else None
        return self._open

    def _change(self, edit: Callable[[SnapshotBuilder], Any], names: Sequence[str]) -> None:
        """Publish the live snapshot with `edit` applied. UserError, before anything is written, where a manual has a name."""
        with ExitStack() as stack:
            stack.enter_context(writer_lock(self._directory))
            remove_leftovers(self._directory)
            live = self._index()
            manuals = {o.document.doc_id for o in live.origins() if not o.place.startswith(_PLACE)} if live else set()
            if taken := manuals & set(names):
                raise UserError(
                    f"id {sorted(taken)[0]!r} is a manual's; use another id, or run: emendo delete {sorted(taken)[0]}"
                )
            builder = SnapshotBuilder(stack.enter_context(new_snapshot(self._directory)), self._embedder, live)
            edit(builder)
            builder.publish(live.manifest.chunking if live else {})


def to_langchain(chunk: Chunk) -> LangChainDocument:
    """A passage with what it was added with, or with its place in its manual."""
    place = {
        "doc_id": chunk.doc_id,
        "title": chunk.title,
        "product": chunk.product,
        "section": " > ".join(chunk.section),
        "pages": list(chunk.pages),
        "source": chunk.source,
    }
    metadata = json.loads(chunk.metadata) if chunk.metadata else place
    return LangChainDocument(page_content=chunk.text, metadata=metadata, id=chunk.chunk_id)


def _entry(name: str, text: str, metadata: dict[str, Any]) -> tuple[Origin, Chunk]:
    """A text as a document of one chunk; `title`, `product` and `source` of its metadata are used as such."""
    try:
        kept = json.dumps(metadata, ensure_ascii=False)
    except TypeError as error:
        raise UserError(f"metadata of {name!r} cannot be kept: {error}; use plain values") from error
    title, source = (str(metadata.get(key, "")) for key in ("title", "source"))
    product = str(metadata.get("product", "")) or title
    document = Document(name, title, product, source, 0, content_id(text), "langchain")
    chunk = Chunk(name, name, title, product, (), text, title, source=source, metadata=kept)
    return Origin(document, f"{_PLACE}{name}", "langchain"), chunk


def _replace_all(builder: SnapshotBuilder, entries: Sequence[tuple[Origin, Chunk]], vectors: np.ndarray) -> None:
    for row, (origin, chunk) in enumerate(entries):
        builder.remove(chunk.doc_id)
        builder.add(origin, [chunk], vectors[row : row + 1])


def _known(index: Index, ids: Sequence[str]) -> list[Chunk]:
    """The chunks among these ids that the index holds."""
    found = []
    for name in dict.fromkeys(ids):
        try:
            found += index.get_chunks([name])
        except KeyError:
            continue
    return found
