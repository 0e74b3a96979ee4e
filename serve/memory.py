"""Approved corrections help at once: asked again, a corrected question gets the approved answer until a model has learned it."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable
from typing import Any

from emendo.config import Workspace
from emendo.records import Answer, Correction, UserError
from emendo.store import Store
from rag.citations import resolve_citations
from rag.prompt import PROMPT_VERSION
from rag.retrieve import Retriever
from sft.adapters import read_card

# Cosine of two questions from which they ask the same, if their numbers and codes are equal, too. Of the 250 sample corrections
# no two with different answers come above .73.
SAME = 0.9
APPROVED = "approved:"  # begins the model_id of such an answer; the correction's id follows
_WORD = re.compile(r"\w+")


class AnswerMemory:
    """Looks the corrections up anew when an approval has changed; safe to use from several threads."""

    def __init__(self, store: Store, workspace: Workspace):
        self._store, self._workspace = store, workspace
        self._refreshing = threading.Lock()
        self._known: tuple[Any, list[Correction], Any] = (None, [], None)  # what it was made of, corrections, their vectors

    def recall(
        self, question: str, standalone: str, product: Callable[[], str], retriever: Retriever, adapter_id: str
    ) -> Answer | None:
        """The approved answer to this question; None where none is near enough, or its evidence is not in the index any more.

        `product` tells what to search, "" for all; it is called for a near question only, for it may have to search itself.
        """
        rows, vectors = self._refresh(retriever, adapter_id)
        if not rows:
            return None
        cosines = vectors @ retriever.embedder.encode([standalone])[0]
        # The latest of equal ones: a later correction overrules an earlier one.
        cosine, best = max((float(cosine), place) for place, cosine in enumerate(cosines))
        row = rows[best]
        if _words(row.question) != _words(standalone) and (cosine < SAME or _codes(row.question) != _codes(standalone)):
            return None
        found = retriever.search(standalone, 1, product())
        held = [hit.chunk for hit in row.hits if hit.chunk.chunk_id in row.evidence]
        if not found or found[0].chunk.doc_id not in {chunk.doc_id for chunk in held}:
            return None  # asked of another product
        try:
            retriever.index.get_chunks([chunk.chunk_id for chunk in held])
        except KeyError:
            return None  # the manual has changed since
        return _as_answer(row, question, standalone, retriever.index.index_id)

    def _refresh(self, retriever: Retriever, adapter_id: str) -> tuple[list[Correction], Any]:
        with self._refreshing:
            state = (self._store.approved_ids(), retriever.embedder.id, adapter_id)
            if self._known[0] != state:
                learned = self._learned(adapter_id)
                rows = [row for _, row in self._store.corrections("approved") if row.correction_id not in learned]
                rows = [row for row in rows if row.evidence and not row.should_abstain]  # a new manual may tell what was refused
                self._known = (state, rows, retriever.embedder.encode([row.question for row in rows]))
            return self._known[1], self._known[2]

    def _learned(self, adapter_id: str) -> set[str]:
        try:
            return set(read_card(self._workspace.adapters / adapter_id).correction_ids) if adapter_id else set()
        except UserError:  # an adapter that was made elsewhere
            return set()


def _as_answer(row: Correction, question: str, standalone: str, index_id: str) -> Answer:
    return Answer(
        answer_id=uuid.uuid4().hex,
        question=question,
        standalone=standalone,
        text=row.corrected,
        citations=resolve_citations(row.corrected, row.hits, standalone),
        hits=row.hits,
        abstained=False,
        confidence=1.0,
        model_id=APPROVED + row.correction_id,
        adapter_id="",
        prompt_version=PROMPT_VERSION,
        index_id=index_id,
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _codes(text: str) -> set[str]:
    """The words with a digit: error codes, sizes, steps."""
    return {word for word in _words(text) if any(character.isdigit() for character in word)}
