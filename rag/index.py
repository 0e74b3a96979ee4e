"""One snapshot opened for searching, and a builder that makes the next one from it. The only place that knows FAISS."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emendo.records import Box, Chunk, Document, UserError, content_id, from_json, to_json
from rag.embedder import Embedder
from rag.lexical import COLUMNS, TOKENIZE, columns, count_holding, query_terms, search_words
from rag.snapshot import CHUNKS, FORMAT_VERSION, VECTORS, Manifest, current_id, publish, read_manifest

if TYPE_CHECKING:
    import numpy as np

_NAMES = ", ".join(COLUMNS)
_SCHEMA = f"""
CREATE TABLE documents (doc_id TEXT PRIMARY KEY, place TEXT NOT NULL, recipe TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE chunks (row INTEGER PRIMARY KEY, chunk_id TEXT UNIQUE NOT NULL, doc_id TEXT NOT NULL, vector_key TEXT NOT NULL,
  record TEXT NOT NULL, {", ".join(f"{name} TEXT NOT NULL" for name in COLUMNS)});
CREATE INDEX chunks_of_document ON chunks (doc_id);
CREATE INDEX chunks_by_vector ON chunks (vector_key);
CREATE VIRTUAL TABLE words USING fts5({_NAMES}, content='chunks', content_rowid='row', tokenize='{TOKENIZE}');
"""
_BATCH = 500  # placeholders in one SQL statement
_COMMON = 5000  # passages that hold a word; a question's words held by more are not looked for by themselves ...
_ENOUGH = 200  # ... where its rarer words are held by this many
_PER_LIST = 39  # vectors that FAISS wants to place the centre of a list by


@dataclass(frozen=True)
class Origin:
    """What tells whether a document must be made anew."""

    document: Document
    place: str  # absolute path of its file; inside an archive "archive!member"
    recipe: str  # id of parser, chunker and their settings


class Index:
    """A snapshot held open; threads may share it. It goes on answering from its own files after a newer one is published."""

    def __init__(self, directory: Path, snapshot_id: str, manifest: Manifest):
        import faiss

        self.directory = directory
        self.index_id = snapshot_id
        self.manifest = manifest
        folder = directory / snapshot_id
        self._vectors: Any = faiss.read_index(str(folder / VECTORS))
        self._database = sqlite3.connect(f"file:{folder / CHUNKS}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        self._holding: dict[str, int] = {}  # term -> chunks that hold it

    def close(self) -> None:
        self._database.close()

    def is_current(self) -> bool:
        """False once a newer snapshot is live."""
        return current_id(self.directory) == self.index_id

    def documents(self) -> list[Document]:
        rows = self._database.execute("SELECT record FROM documents ORDER BY doc_id")
        return [from_json(Document, record) for (record,) in rows]

    def origins(self) -> list[Origin]:
        """Where every document came from and how it was made."""
        rows = self._database.execute("SELECT record, place, recipe FROM documents ORDER BY doc_id")
        return [Origin(from_json(Document, record), place, recipe) for record, place, recipe in rows]

    def chunks(self, doc_id: str) -> list[Chunk]:
        """All chunks of a document in reading order; [] for an unknown one."""
        rows = self._database.execute("SELECT record, body FROM chunks WHERE doc_id = ? ORDER BY row", (doc_id,))
        return [_read_chunk(*row) for row in rows]

    def sizes(self) -> dict[str, int]:
        """doc_id -> its number of chunks."""
        return dict(self._database.execute("SELECT doc_id, count(*) FROM chunks GROUP BY doc_id"))

    def around(self, chunk_id: str, reach: int) -> list[Chunk]:
        """The chunk with up to `reach` chunks of its document on either side, in reading order; [] for an unknown one."""
        found = self._database.execute(
            "SELECT other.record, other.body FROM chunks AS hit JOIN chunks AS other ON other.doc_id = hit.doc_id"
            " AND other.row BETWEEN hit.row - ? AND hit.row + ? WHERE hit.chunk_id = ? ORDER BY other.row",
            (reach, reach, chunk_id),
        )
        return [_read_chunk(*row) for row in found]

    def get_chunks(self, ids: Sequence[str]) -> list[Chunk]:
        """The chunks with these ids, in this order. KeyError for an id that is not in the index."""
        found = {
            chunk_id: _read_chunk(record, body)
            for chunk_id, record, body in self._select("chunk_id, record, body", "chunk_id", ids)
        }
        return [found[chunk_id] for chunk_id in ids]

    def dense(self, vector: np.ndarray, k: int, doc_ids: Iterable[str] | None = None) -> list[tuple[str, float]]:
        """(chunk_id, cosine) of the k nearest, best first. `vector` has shape (dimension,) and length 1."""
        import faiss
        import numpy as np

        options: dict[str, Any] = {}
        if doc_ids is not None:
            rows = [row for (row,) in self._select("row", "doc_id", list(doc_ids))]
            if not rows:
                return []
            selected = faiss.IDSelectorBatch(np.array(rows, dtype=np.int64))
            lists = getattr(self._vectors, "nlist", 0)  # all of them, so that the k of a small product are found
            parameters: Any = faiss.SearchParametersIVF if lists else faiss.SearchParameters
            options["params"] = parameters(sel=selected, nprobe=lists) if lists else parameters(sel=selected)
        scores, found = self._vectors.search(vector.reshape(1, -1), k, **options)
        best = [(int(row), float(score)) for row, score in zip(found[0], scores[0], strict=True) if row >= 0]
        names = dict(self._select("row, chunk_id", "row", [row for row, _ in best]))
        return [(names[row], score) for row, score in best]

    def lexical(self, query: str, k: int, doc_ids: Iterable[str] | None = None) -> list[tuple[str, float]]:
        """(chunk_id, BM25) of the k best, best first; higher is better. Columns are weighted (`rag.lexical.WEIGHTS`)."""
        condition, values = "", list[Any]()
        if doc_ids is not None:  # by the span of rows, which is quick, then (`+`: each row is looked at) by the rows themselves
            wanted = list(doc_ids)
            rows = f"FROM chunks WHERE doc_id IN ({_marks(wanted)})"
            span = self._database.execute(f"SELECT min(row), max(row) {rows}", wanted).fetchone()
            condition, values = f"AND rowid BETWEEN ? AND ? AND +rowid IN (SELECT row {rows})", [*span, *wanted]
        best = search_words(self._database, query, k, condition, values, self._common_terms(query) if doc_ids is None else ())
        names = dict(self._select("row, chunk_id", "row", [row for row, _ in best]))
        return [(names[row], score) for row, score in best]

    def _common_terms(self, query: str) -> list[str]:
        """The question's words that so many chunks hold that the rarer ones must lead to the best."""
        if self.manifest.chunks <= _COMMON:
            return []
        common, found = [], 0
        for held, term in sorted((self.document_frequency(term), term) for term in query_terms(query)):
            if held > _COMMON and found >= _ENOUGH:
                common.append(term)
            found += held
        return common

    def document_frequency(self, term: str) -> int:
        """Number of chunks that hold the term (its stem, in any column)."""
        if term not in self._holding:
            self._holding[term] = count_holding(self._database, term)
        return self._holding[term]

    def word_rows(self, doc_ids: Iterable[str]) -> list[tuple[str, ...]]:
        """(chunk_id, *rag.lexical.COLUMNS) of the documents' passages, in the order they were added."""
        rows = self._select(f"row, chunk_id, {_NAMES}", "doc_id", list(doc_ids))
        return [tuple(values) for _, *values in sorted(rows)]

    def _select(self, wanted: str, column: str, values: Sequence[Any]) -> list[Any]:
        rows: list[Any] = []
        for start in range(0, len(values), _BATCH):
            part = values[start : start + _BATCH]
            rows += self._database.execute(f"SELECT {wanted} FROM chunks WHERE {column} IN ({_marks(part)})", part)
        return rows


def open_index(directory: Path, embedder: Embedder | None) -> Index:
    """The live snapshot of `directory`; with embedder None it is not for searching and any will do.

    Raises UserError when there is none yet, when another embedder made it, and when it is damaged or too new.
    """
    for attempt in range(3):
        snapshot_id = current_id(directory)
        if snapshot_id is None:
            raise UserError(f"no index in {directory} yet; add a manual with: emendo index PATH")
        try:
            manifest = read_manifest(directory / snapshot_id)
            if embedder is not None:
                _check_embedder(manifest, embedder)
            return Index(directory, snapshot_id, manifest)
        except FileNotFoundError as error:  # a writer published and removed this one in between
            if attempt == 2:
                raise UserError(f"index {directory} is damaged: {error.filename} is missing; run: emendo index PATH") from error
    raise AssertionError("unreachable")


def _check_embedder(manifest: Manifest, embedder: Embedder) -> None:
    """UserError unless the snapshot's vectors are this embedder's."""
    if (manifest.embedder_id, manifest.dimension) != (embedder.id, embedder.dimension):
        raise UserError(
            f"the index was made with embedder {manifest.embedder_id}, now set is {embedder.id}; "
            "set the former again, or embed all passages anew with: emendo index --reembed"
        )


class SnapshotBuilder:
    """The next snapshot: a copy of the live one, changed document by document. The caller holds the writer's lock."""

    def __init__(self, folder: Path, embedder: Embedder, live: Index | None):
        import faiss

        self.folder = folder
        self.embedder = embedder
        self._vectors: Any
        if live is None:
            self._vectors = faiss.IndexIDMap2(faiss.IndexFlatIP(embedder.dimension))
            self._database = sqlite3.connect(folder / CHUNKS)
            self._database.executescript(_SCHEMA)
        else:
            source = live.directory / live.index_id
            shutil.copyfile(source / CHUNKS, folder / CHUNKS)
            self._vectors = faiss.read_index(str(source / VECTORS))
            self._database = sqlite3.connect(folder / CHUNKS)
        self._database.execute("PRAGMA journal_mode = OFF")  # the folder is thrown away when a write fails
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA secure_delete = ON")  # a deleted document leaves no bytes in the file

    def add(self, origin: Origin, chunks: Sequence[Chunk], vectors: np.ndarray) -> None:
        """Add a document's chunks with their vectors, shape (len(chunks), dimension)."""
        import numpy as np

        (last,) = self._database.execute("SELECT coalesce(max(row), 0) FROM chunks").fetchone()
        rows = range(last + 1, last + 1 + len(chunks))
        self._database.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?)",
            (origin.document.doc_id, origin.place, origin.recipe, to_json(origin.document)),
        )
        marks = _marks(range(5 + len(COLUMNS)))
        for row, chunk in zip(rows, chunks, strict=True):
            record = to_json(replace(chunk, text=""))
            values = (row, chunk.chunk_id, chunk.doc_id, vector_key(chunk), record, *columns(chunk))
            self._database.execute(f"INSERT INTO chunks VALUES ({marks})", values)
        self._database.execute(f"INSERT INTO words (rowid, {_NAMES}) SELECT row, {_NAMES} FROM chunks WHERE row > ?", (last,))
        if chunks:
            self._vectors.add_with_ids(vectors, np.array(rows, dtype=np.int64))

    def remove(self, doc_id: str) -> int:
        """Remove a document from both sides; the number of chunks removed."""
        import numpy as np

        rows = [row for (row,) in self._database.execute("SELECT row FROM chunks WHERE doc_id = ?", (doc_id,))]
        self._database.execute(
            f"INSERT INTO words (words, rowid, {_NAMES}) SELECT 'delete', row, {_NAMES} FROM chunks WHERE doc_id = ?", (doc_id,)
        )
        self._database.execute("DELETE FROM chunks WHERE doc_id = ?", (doc_id,))
        self._database.execute("DELETE FROM documents WHERE doc_id = ?", (doc_id,))
        if rows:
            self._vectors.remove_ids(np.array(rows, dtype=np.int64))
        return len(rows)

    def vector(self, key: str) -> np.ndarray | None:
        """The vector already computed for this text, shape (dimension,), or None."""
        found = self._database.execute("SELECT row FROM chunks WHERE vector_key = ? LIMIT 1", (key,)).fetchone()
        return self._vectors.reconstruct(int(found[0])) if found else None

    @property
    def chunks(self) -> int:
        return int(self._vectors.ntotal)

    def use_lists(self, lists: int) -> None:
        """Group the vectors into `lists` lists of which a search reads the nearest sixteenth (FAISS IVF); 0: read all, exactly.

        Later additions and removals keep the lists. UserError for more lists than the passages can train.
        """
        import faiss
        import numpy as np

        most = self.chunks // _PER_LIST
        if lists > most:
            raise UserError(
                f"{lists} lists for {self.chunks} passages; expected {most} at most (about {_PER_LIST} passages each)"
            )
        rows = np.array([row for (row,) in self._database.execute("SELECT row FROM chunks ORDER BY row")], dtype=np.int64)
        vectors = self._vectors.reconstruct_batch(rows)
        flat = faiss.IndexFlatIP(self.embedder.dimension)
        grouped: Any = faiss.IndexIDMap2(flat)
        if lists:
            grouped = faiss.IndexIVFFlat(flat, self.embedder.dimension, lists, faiss.METRIC_INNER_PRODUCT)
            library: Any = faiss  # its type stubs lack the next name
            grouped.set_direct_map_type(library.DirectMap.Hashtable)  # finds a vector by its row, to reuse or remove it
            grouped.nprobe = max(1, lists // 16)
            grouped.train(vectors)
        grouped.add_with_ids(vectors, rows)
        self._vectors = grouped

    def publish(self, chunking: dict[str, Any]) -> str:
        """Write and switch; returns the new snapshot's id. Nothing can be added afterwards."""
        import faiss

        (documents,) = self._database.execute("SELECT count(*) FROM documents").fetchone()
        self._database.execute("INSERT INTO words (words) VALUES ('optimize')")
        self._database.commit()
        self._database.close()
        faiss.write_index(self._vectors, str(self.folder / VECTORS))
        manifest = Manifest(FORMAT_VERSION, self.embedder.id, self.embedder.dimension, chunking, documents, self.chunks)
        return publish(self.folder, manifest)


def indexed_text(chunk: Chunk) -> str:
    """What is embedded for a chunk: its headings, its context where one was written, and its text.

    The manual's title is left out: it tells no passage of the manual from another, and with it the passages that related manuals
    share would be embedded once for each of them.
    """
    headings = chunk.header.removeprefix(chunk.title).removeprefix(" > ")
    return "\n".join(part for part in (headings, chunk.context, chunk.text) if part)


def vector_key(chunk: Chunk) -> str:
    """Names the embedded text: equal texts share one embedding, whatever document they stand in."""
    return content_id(indexed_text(chunk), length=32)


def _read_chunk(record: str, text: str) -> Chunk:
    """Built by hand: a search reads a hundred chunks, and looking up type hints for each takes longer than the search."""
    value = json.loads(record)
    boxes = tuple(Box(**box) for box in value["boxes"])
    return Chunk(**value | {"text": text, "section": tuple(value["section"]), "pages": tuple(value["pages"]), "boxes": boxes})


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
