"""The words of one product's manuals within a larger index, counted as if they were indexed alone.

BM25 weighs a word by how few passages hold it. Counted over a whole collection, words that every manual of the product has look
rare, and the words that tell its passages apart look like any other.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping

from rag.index import Index
from rag.lexical import COLUMNS, TOKENIZE, count_holding, search_words

_NAMES = ", ".join(COLUMNS)
_MOST_PASSAGES = 5000  # of a product; the words of a larger one are nearly those of any collection, and counting takes time
_MOST_PRODUCTS = 32  # kept at a time


class ProductWords:
    """A full-text index of some documents' passages in memory; threads may share it."""

    def __init__(self, index: Index, doc_ids: frozenset[str]):
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(f"CREATE VIRTUAL TABLE words USING fts5({_NAMES}, content='', tokenize='{TOKENIZE}')")
        self._ids: list[str] = []
        for chunk_id, *texts in index.word_rows(doc_ids):
            self._ids.append(chunk_id)
            values = (len(self._ids), *texts)
            self._database.execute(f"INSERT INTO words (rowid, {_NAMES}) VALUES (?{', ?' * len(COLUMNS)})", values)

    def lexical(self, query: str, k: int) -> list[tuple[str, float]]:
        """(chunk_id, BM25) of the k best, best first; higher is better."""
        return [(self._ids[row - 1], score) for row, score in search_words(self._database, query, k)]

    def document_frequency(self, term: str) -> int:
        """Number of passages that hold the term (its stem, in any column)."""
        return count_holding(self._database, term)

    @property
    def chunks(self) -> int:
        return len(self._ids)


class ProductWordsCache:
    """The products asked for last. `sizes` gives the passages of each document, by doc_id."""

    def __init__(self, index: Index, sizes: Mapping[str, int]):
        self._index = index
        self._sizes = sizes
        self._kept: dict[frozenset[str], ProductWords] = {}
        self._lock = threading.Lock()

    def get(self, doc_ids: frozenset[str] | None) -> ProductWords | None:
        """None where the words of the whole index are to be counted: nothing or everything is chosen, or too much of it."""
        if doc_ids is None or doc_ids >= self._sizes.keys():
            return None
        if sum(self._sizes.get(doc_id, 0) for doc_id in doc_ids) > _MOST_PASSAGES:
            return None
        with self._lock:
            words = self._kept.pop(doc_ids, None) or ProductWords(self._index, doc_ids)
            self._kept[doc_ids] = words  # last in the order of use
            if len(self._kept) > _MOST_PRODUCTS:
                del self._kept[next(iter(self._kept))]
        return words
