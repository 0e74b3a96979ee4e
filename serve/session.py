"""What every page of the app works on: the database, the answerer, the index, the workspace.

Nothing here belongs to one user: what a user sees is a conversation id in gr.State and rows in the database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from emendo.config import Workspace
from emendo.records import Answer, Chunk, Correction, Document, Hit, UserError
from emendo.store import Store
from rag.answer import Answerer
from rag.index import Index, open_index
from rag.retrieve import Retriever


@dataclass(frozen=True)
class ServeSettings:
    """[serve] in emendo.toml."""

    max_question_chars: int = 4000
    max_file_mb: int = 200
    answers_at_once: int = 1  # answers written at the same time; the rest wait in the queue and see their place


@dataclass
class ServeContext:
    """Everything `serve` shares between users. `load_model` turns the id of a promoted adapter into its chat model."""

    store: Store
    answerer: Answerer
    index_directory: Path
    embedder: Any  # rag.embedder.Embedder
    workspace: Workspace
    model_label: str = ""
    embedder_spec: str = "minilm"  # the indexing subprocess loads the same embedder again
    demonstration: bool = False  # the bundled model: too small to be trusted, and the page says so
    load_model: Callable[[str], BaseChatModel] | None = None
    settings: ServeSettings = field(default_factory=ServeSettings)
    _reloading: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def index(self) -> Index | None:
        """The index that answers now; None before the first document."""
        return self.answerer.retriever.index if self.answerer.retriever else None

    def documents(self) -> list[Document]:
        return self.index.documents() if self.index else []

    def products(self) -> list[str]:
        return sorted({document.product for document in self.documents() if document.product})

    def refresh(self) -> None:
        """Answer from the live snapshot if another process, `emendo index` for one, has made a new one."""
        live = _live_snapshot(self.index_directory)
        if live and (self.index is None or self.index.index_id != live):
            self.reload()

    def reload(self) -> None:
        """Open the newest index and the promoted adapter; answers under way finish on what they began with."""
        with self._reloading:
            old, adapter_id = self.answerer, self.store.promoted()
            changed = self.load_model is not None and adapter_id != old.adapter_id
            model = self.load_model(adapter_id) if self.load_model and changed else old.model
            self.answerer = Answerer(self._open_retriever(old.retriever), model, old.settings)

    def source_file(self, source: str) -> Path | None:
        """The kept copy of an indexed file, or None where there is none; never a path outside the workspace."""
        root = self.workspace.sources.resolve()
        path = (root / source).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None

    def _open_retriever(self, old: Retriever | None) -> Retriever | None:
        if not _live_snapshot(self.index_directory):
            return None
        index = open_index(self.index_directory, self.embedder)
        return Retriever(index, self.embedder, old.settings) if old else Retriever(index, self.embedder)


def _live_snapshot(directory: Path) -> str:
    """The id in the index's CURRENT file; "" before the first document."""
    current = directory / "CURRENT"
    return current.read_text(encoding="utf-8").strip() if current.is_file() else ""
