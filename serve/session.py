"""What every page of the app works on: the database, the answerer, the index, the workspace.

Nothing here belongs to one user: what a user sees is a conversation id in gr.State and rows in the database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from emendo.accounts import Accounts, User
from emendo.config import Workspace
from emendo.quote_model import QuoteChatModel
from emendo.records import Answer, Chunk, Correction, Document, UserError
from emendo.store import Store
from rag.answer import Answerer
from rag.condense import condense
from rag.embedder import DEFAULT
from rag.index import Index, open_index
from rag.retrieve import Retriever
from rag.snapshot import current_id
from rag.turns import turn_of
from serve.auth import check_owner, require, shown
from serve.memory import AnswerMemory
from serve.metrics import Metrics
from serve.queue import AnswerQueue, Waiting
from serve.tune_job import TuneJob, TuneRequest
from sft.adapters import list_adapters
from sft.corrections import shown_passage


@dataclass(frozen=True)
class ServeSettings:
    """[serve] in emendo.toml."""

    max_question_chars: int = 4000  # a longer question is refused
    max_file_mb: int = 200  # a larger upload is refused
    # Answers worked on at the same time, the rest wait and see their place; None: 48 for models that write in batches or on
    # another server, else 2.
    answers_at_once: int | None = None
    answer_memory: bool = True  # a corrected question asked again gets its approved answer
    most_waiting: int = 200  # more questions than this are turned away


@dataclass
class ServeContext:
    """Everything `serve` shares between users. `load_model` turns the id of a promoted adapter into its chat model."""

    store: Store
    answerer: Answerer
    index_directory: Path
    embedder: Any  # rag.embedder.Embedder
    workspace: Workspace
    model_label: str = ""
    embedder_spec: str = DEFAULT  # the indexing subprocess loads the same embedder again
    ocr: str = ""  # languages that uploaded scans are read in
    writer: str = ""  # model that writes a context for every passage of an upload
    demonstration: bool = False  # the bundled model: too small to be trusted, and the page says so
    load_model: Callable[[str], BaseChatModel] | None = None
    settings: ServeSettings = field(default_factory=ServeSettings)
    tuned: TuneRequest = field(default_factory=lambda: TuneRequest("hf:bundled"))  # what the tune page tunes
    _reloading: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _promoted: str = field(default="", init=False)  # the adapter promoted when the model was loaded
    _other: tuple[str, BaseChatModel] | None = field(default=None, init=False, repr=False)  # last adapter asked for by its id

    def __post_init__(self) -> None:
        self._promoted = self.store.promoted()
        self.accounts = Accounts(self.store.engine)
        self.indexing = threading.Lock()  # held while an upload is indexed; the index takes one writer
        self.tuning = TuneJob(self.workspace, self.store.location)
        self.memory = AnswerMemory(self.store, self.workspace)
        self.metrics = Metrics()
        self.metrics.watch_documents(lambda: len(self.documents()))
        many = 2 if isinstance(self.answerer.model, QuoteChatModel) else 48
        self.queue = AnswerQueue(self.settings.answers_at_once or many, self.settings.most_waiting, self.metrics)

    @property
    def index(self) -> Index | None:
        """The index that answers now; None before the first document."""
        return self.answerer.retriever.index if self.answerer.retriever else None

    def documents(self) -> list[Document]:
        return self.index.documents() if self.index else []

    def products(self) -> list[str]:
        return sorted({document.product for document in self.documents() if document.product})

    def answer(
        self,
        question: str,
        turns: Sequence[Answer],
        product: str = "",
        adapter: str | None = None,
        surface: str = "pages",
        found: Callable[[Answer], None] | None = None,
    ) -> Iterator[Waiting | str | Answer]:
        """Places in the queue, pieces of text, at last the Answer. Closing the iterator frees its place.

        `adapter` is an id, "" for the base model, None for what was promoted. `found` is called before the first piece (see
        Answerer.stream). UserError for a question that cannot be asked.
        """
        most = self.settings.max_question_chars
        if not question.strip():
            raise UserError("the question is empty")
        if len(question) > most:
            raise UserError(f"the question has {len(question)} characters; at most {most} are read")
        self.refresh()
        if self.index is None:
            raise UserError("No manual is indexed yet; add one on the Documents page or with: emendo index PATH")
        if adapter is None and (known := self._recall(question.strip(), turns, product)):
            return self._tell(known, surface)
        answerer = self.answerer if adapter is None else self.answerer_with(adapter)
        return self.queue.answer(lambda: answerer.stream(question.strip(), turns, product, found), surface)

    def _tell(self, known: Answer, surface: str) -> Iterator[str | Answer]:
        """An approved answer waits in no line."""
        self.metrics.answered(surface, "answered", 0.0, 0.0)
        yield known.text
        yield known

    def _recall(self, question: str, turns: Sequence[Answer], product: str) -> Answer | None:
        """The approved answer to a question that was corrected before."""
        now = self.answerer
        if now.retriever is None or not self.settings.answer_memory:
            return None
        retriever, history = now.retriever, turns if now.settings.history_turns else ()

        def about() -> str:
            return turn_of(retriever, question, history, product).product

        return self.memory.recall(question, condense(question, history), about, retriever, now.adapter_id)

    def adapters(self) -> list[str]:
        """The adapters that the serving model can take, the newest first; none for a model that takes none."""
        if self.load_model is None or not self.answerer.model_id.startswith("hf:"):
            return []
        return [card.adapter_id for card in reversed(list_adapters(self.workspace.adapters))]

    def answerer_with(self, adapter: str) -> Answerer:
        """Over the live index, with this adapter ("" for the base model); one model besides the promoted one is kept loaded."""
        now = self.answerer
        if adapter == now.adapter_id:
            return now
        if self.load_model is None or not now.model_id.startswith("hf:"):
            raise UserError(f"{now.model_id} takes no adapters; serve an hf: model")
        with self._reloading:
            if self._other is None or self._other[0] != adapter:
                self._other = (adapter, self.load_model(adapter))
            return Answerer(now.retriever, self._other[1], now.settings)

    def user(self, role: str = "asker") -> User:
        """Whose event a page's handler works on. gr.Error where nobody is signed in or the role is missing."""
        with shown():
            return require(self.accounts, role)

    def own_turns(self, conversation_id: str) -> list[Answer]:
        """The answers of a conversation of the page's user; gr.Error for somebody else's."""
        if not conversation_id:
            return []
        with shown():
            check_owner(self, self.user(), conversation_id=conversation_id)
        return self.store.turns(conversation_id)

    def own_answer(self, answer_id: str) -> Answer:
        """An answer of the page's user; gr.Error for somebody else's."""
        with shown():
            check_owner(self, self.user(), answer_id=answer_id)
        return self.store.answer(answer_id)

    def find(self, words: str, most: int = 6) -> list[Chunk]:
        """The best passages for these words among all documents."""
        return [hit.chunk for hit in self.answerer.retriever.search(words, most)] if self.answerer.retriever else []

    def shown_passages(self, chunk_ids: Sequence[str], words: str) -> list[Chunk]:
        """The indexed passages of these ids, as the model would be shown them for these words. UserError where one is gone."""
        retriever, settings = self.answerer.retriever, self.answerer.settings
        try:
            chunks = self.index.get_chunks(chunk_ids) if self.index else []
        except KeyError as error:
            raise UserError("a passage that was found is not in the index any more; search again") from error
        return [shown_passage(retriever, chunk, words, settings) for chunk in chunks] if retriever else []

    def corrections(self, user: User, status: str | None = None) -> dict[int, Correction]:
        """Number -> correction: all of them for a reviewer, else the user's own."""
        rows = self.store.corrections(status)
        return {number: row for number, row in rows if user.may("reviewer") or row.author == user.name}

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

    def place_of(self, doc_id: str) -> str | None:
        """Where the document was read from: a path, inside an archive "archive!member"; None for an unknown one."""
        origins = self.index.origins() if self.index else []
        return next((origin.place for origin in origins if origin.document.doc_id == doc_id), None)

    def kept_file(self, doc_id: str) -> Path | None:
        """The workspace's own file, maybe an archive, that the document was read from; None where it was read elsewhere."""
        file = Path((self.place_of(doc_id) or "").partition("!")[0])
        kept = self.workspace.sources / file.name
        moved = file.parent.name == kept.parent.name and not file.exists()  # a workspace restored at another place
        return kept if (file == kept or moved) and kept.is_file() else None

    def source_file(self, doc_id: str) -> Path | None:
        """The file a document was read from, or None where it is gone or inside an archive."""
        place = self.place_of(doc_id) or ""
        if "!" in place:
            return None
        return self.kept_file(doc_id) or (Path(place) if place and Path(place).is_file() else None)

    def pages_of(self, doc_id: str) -> int:
        return next((document.pages for document in self.documents() if document.doc_id == doc_id), 0)

    def _open_retriever(self, old: Retriever | None) -> Retriever | None:
        if current_id(self.index_directory) is None:
            return None
        index = open_index(self.index_directory, self.embedder)
        return Retriever(index, self.embedder, old.settings) if old else Retriever(index, self.embedder)
