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
from emendo.records import Document
from emendo.store import Store
from rag.answer import Answerer
from rag.index import Index, open_index
from rag.retrieve import Retriever
from rag.snapshot import current_id


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
    _reloading: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _promoted: str = field(default="", init=False)  # the adapter promoted when the model was loaded

    def __post_init__(self) -> None:
        self._promoted = self.store.promoted()

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
        live = current_id(self.index_directory)
        if live and (self.index is None or self.index.index_id != live):
            self.reload()

    def reload(self) -> None:
        """Open the newest index, and the promoted adapter if the promotion changed; answers under way finish as they began."""
        with self._reloading:
            old, promoted = self.answerer, self.store.promoted()
            model = old.model
            if self.load_model is not None and promoted != self._promoted:
                model = self.load_model(promoted)
            self.answerer = Answerer(self._open_retriever(old.retriever), model, old.settings)
            self._promoted = promoted

    def source_file(self, doc_id: str) -> Path | None:
        """The file a document was read from, or None where it is gone or inside an archive."""
        origins = self.index.origins() if self.index else []
        place = next((origin.place for origin in origins if origin.document.doc_id == doc_id), "")
        return Path(place) if place and Path(place).is_file() else None

    def pages_of(self, doc_id: str) -> int:
        return next((document.pages for document in self.documents() if document.doc_id == doc_id), 0)

    def _open_retriever(self, old: Retriever | None) -> Retriever | None:
        if current_id(self.index_directory) is None:
            return None
        index = open_index(self.index_directory, self.embedder)
        return Retriever(index, self.embedder, old.settings) if old else Retriever(index, self.embedder)
