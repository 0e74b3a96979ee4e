"""From a question to a cited answer: condense, retrieve, pack, generate, cite."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from emendo.records import Answer, Hit
from rag.citations import drop_unknown_marks, resolve_citations
from rag.condense import ask_back
from rag.confidence import PASSAGES
from rag.focus import cut_to_evidence
from rag.prompt import PROMPT_VERSION, REFUSAL, Message, build_messages, history_messages, is_refusal
from rag.turns import turn_of

if TYPE_CHECKING:
    from rag.retrieve import Retriever

# More searches at once than processors are no quicker, and each thread's memory stays with the process: some 500 MB for 48.
_SEARCHES = threading.BoundedSemaphore(os.cpu_count() or 1)


@dataclass(frozen=True)
class AnswerSettings:
    """[answer] in emendo.toml."""

    passages: int | None = None  # given to the model, best first; None: 2 for the bundled model, else 4
    # Refuse without asking the model where the retrieval confidence is lower; None: fitted for `quote`, 0 for models that judge.
    refuse_below: float | None = None
    history_turns: int = 3  # earlier turns shown to the model
    max_new_tokens: int = 160  # tokens that the model may write; what a prompt leaves of its window goes to the passages
    # Print only sentences of the passages, for hf: models; None: on for the bundled one, which is too small to write its own.
    verbatim: bool | None = None
    # Cut each passage to this many sentences from its best one on; 0 shows whole passages; None: 3 for the bundled model, else 0.
    focus_units: int | None = None
    # Show each passage with the text of its section around it; None: on for models that write their own sentences.
    whole_sections: bool | None = None
    ask_back: bool = True  # ask for the product where the manuals of several say the same and none was chosen or named

    def __post_init__(self) -> None:
        for name, least in (("passages", 1), ("history_turns", 0), ("max_new_tokens", 1), ("focus_units", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} = {value}: expected {least} or more")
        if self.refuse_below is not None and not 0 <= self.refuse_below <= 1:
            raise ValueError(f"refuse_below = {self.refuse_below}: expected a confidence from 0 to 1")


@dataclass(frozen=True)
class Ask:
    """One question to answer. `history` holds earlier answers of the conversation, oldest first."""

    question: str
    history: tuple[Answer, ...] = ()
    product: str = ""  # search only this product or document; "" searches all


@dataclass
class _Draft:
    ask: Ask
    standalone: str
    hits: list[Hit]
    confidence: float
    messages: list[Message]
    timings: dict[str, float] = field(default_factory=dict)
    reply: str = ""  # the answer where the model is not asked
    unit_scores: list[float] | None = None


class Answerer:
    """Answers questions with one chat model over one retriever (None: the model alone, without passages)."""

    def __init__(self, retriever: Retriever | None, model: BaseChatModel, settings: AnswerSettings | None = None):
        self.retriever = retriever
        self.model = model
        self.settings = settings or AnswerSettings()
        # Searches of an evaluation, by question and product: answerers that differ only in their adapter may share one dict.
        self.searched: dict[tuple[str, str], _Draft] | None = None

    @property
    def model_id(self) -> str:
        return str(getattr(self.model, "model_id", None) or getattr(self.model, "model_name", type(self.model).__name__))

    @property
    def adapter_id(self) -> str:
        return str(getattr(self.model, "adapter_id", ""))

    def answer(self, question: str, history: Sequence[Answer] = (), product: str = "") -> Answer:
        """The cited answer to one question."""
        return self.answer_many([Ask(question, tuple(history), product)])[0]

    def answer_many(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answers in the order asked; the model sees all prompts as one batch."""
        self._embed(asks)
        drafts = [self._searched(ask) for ask in asks]
        waiting = [draft for draft in drafts if not draft.reply]
        start = time.perf_counter()
        prompts: list[Any] = [to_langchain(d.messages, d.standalone, d.hits, d.unit_scores) for d in waiting]
        replies = self.model.batch(prompts) if prompts else []
        seconds = (time.perf_counter() - start) / max(len(waiting), 1)
        texts = iter([str(reply.content) for reply in replies])
        return [self._finish(d, d.reply or next(texts), 0.0 if d.reply else seconds) for d in drafts]

    def stream(
        self,
        question: str,
        history: Sequence[Answer] = (),
        product: str = "",
        found: Callable[[Answer], None] | None = None,
    ) -> Iterator[str | Answer]:
        """Pieces of text as the model writes them, then the Answer. Its text is final: marks without a passage are gone.

        `found` is called once, before the first piece, with the passages as an Answer that has no text yet; should the answer
        be stopped, `stopped_answer` makes its record of that.
        """
        draft = self._draft(Ask(question, tuple(history), product))
        if found:
            found(replace(self._finish(draft, "", 0.0), text="", abstained=False, stopped=True))
        if draft.reply:
            yield draft.reply
            yield self._finish(draft, draft.reply, 0.0)
            return
        start, text = time.perf_counter(), ""
        for piece in self.model.stream(to_langchain(draft.messages, draft.standalone, draft.hits, draft.unit_scores)):
            if not text:
                draft.timings["first_token"] = time.perf_counter() - start
            text += str(piece.content)
            yield str(piece.content)
        yield self._finish(draft, text, time.perf_counter() - start)

    def _embed(self, asks: Sequence[Ask]) -> None:
        """Have the questions' vectors made together: the searches, which come one after the other, find them kept."""
        if self.retriever and len(asks) > 1:
            self.retriever.unit_vectors.vectors([ask.question for ask in asks if ask.question.strip()])

    def _searched(self, ask: Ask) -> _Draft:
        """The draft, made once for each question where searches are kept; the second answer is told the first one's timing."""
        if self.searched is None or ask.history:
            return self._draft(ask)
        key = (ask.question, ask.product)
        if key not in self.searched:
            self.searched[key] = self._draft(ask)
        return self.searched[key]

    def _draft(self, ask: Ask) -> _Draft:
        with _SEARCHES:
            return self._find(ask)

    def _find(self, ask: Ask) -> _Draft:
        start = time.perf_counter()
        recent = ask.history[-self.settings.history_turns :] if self.settings.history_turns else ()
        history = history_messages(recent)
        if self.retriever is None:
            return _Draft(ask, ask.question, [], 1.0, build_messages(ask.question, (), history))
        turn = turn_of(self.retriever, ask.question, ask.history if recent else (), ask.product)
        standalone, product = turn.standalone, turn.product
        found = self.retriever.search_turn(standalone, ask.question, searched_for(self.settings), product)
        passages, units = self.settings.passages or PASSAGES, self.settings.focus_units
        looked_at = found if units else found[: max(PASSAGES, passages)]
        evidence = self.retriever.evidence_turn(standalone, turn.asked, looked_at, product)
        confidence = self.retriever.confidence(turn.asked, found, evidence, product)
        hits, shown = cut_to_evidence(evidence, found, passages, units) if units else (found[:passages], evidence)
        if self.settings.whole_sections:
            hits = self.retriever.grow(hits)
        hits = self._fit(ask.question, hits, history)
        messages = build_messages(ask.question, [hit.chunk for hit in hits], history)
        tied = self.retriever.tied_products(standalone, found) if self.settings.ask_back and not product else ()
        refuse = not hits or confidence < (self.settings.refuse_below or 0.0)
        reply = REFUSAL if refuse else ask_back(tied) if tied else ""
        scores = None if self.settings.whole_sections else [e.score for e in shown if e.unit.passage < len(hits)]
        return _Draft(ask, standalone, hits, confidence, messages, {"retrieve": time.perf_counter() - start}, reply, scores)

    def _fit(self, question: str, hits: list[Hit], history: list[Message]) -> list[Hit]:
        """The longest list of best passages whose whole prompt fits the model's window; at least one is kept."""
        count, window = getattr(self.model, "count_prompt_tokens", None), getattr(self.model, "context_tokens", None)
        if count is None or not window:
            return hits
        room = window - self.settings.max_new_tokens
        while len(hits) > 1 and count(build_messages(question, [hit.chunk for hit in hits], history)) > room:
            hits = hits[:-1]
        return hits

    def _finish(self, draft: _Draft, text: str, seconds: float) -> Answer:
        text = drop_unknown_marks(text.strip(), len(draft.hits))
        abstained = not text or is_refusal(text)
        text = REFUSAL if abstained else text
        return Answer(
            answer_id=uuid.uuid4().hex,
            question=draft.ask.question,
            standalone=draft.standalone,
            text=text,
            citations=() if abstained else resolve_citations(text, draft.hits, draft.standalone),
            hits=tuple(replace(hit, rank=rank) for rank, hit in enumerate(draft.hits, 1)),
            abstained=abstained,
            confidence=draft.confidence,
            model_id=self.model_id,
            adapter_id=self.adapter_id,
            prompt_version=PROMPT_VERSION,
            index_id=self.retriever.index.index_id if self.retriever else "",
            timings={**draft.timings, "generate": seconds},
        )


def stopped_answer(begun: Answer, text: str) -> Answer:
    """The record of an answer that a person stopped when `text` was written; `begun` is what `Answerer.stream` found for it."""
    text = drop_unknown_marks(text.strip(), len(begun.hits))
    citations = resolve_citations(text, begun.hits, begun.standalone)
    return replace(begun, text=text, citations=citations, abstained=is_refusal(text))


def find_passages(retriever: Retriever, question: str, settings: AnswerSettings, product: str = "") -> list[Hit]:
    """The passages a model is shown: the best ones, cut to their best sentences where `focus_units` says so."""
    product = retriever.product_for(question, product)
    found, passages = retriever.search(question, searched_for(settings), product), settings.passages or PASSAGES
    units = settings.focus_units
    hits = retriever.focus(question, found, passages, units, product)[0] if units else found[:passages]
    return retriever.grow(hits) if settings.whole_sections else hits


def searched_for(settings: AnswerSettings) -> int:
    """Hits to search for: more than are shown where the best sentences decide which are."""
    passages = settings.passages or PASSAGES
    return max(16, 2 * passages) if settings.focus_units else passages


def to_langchain(
    messages: Sequence[Message], question: str, hits: Sequence[Hit], unit_scores: Sequence[float] | None = None
) -> list[BaseMessage]:
    """LangChain messages; the last one also carries question and passages as data, for models that quote instead of write.

    `unit_scores` tells such models how well each unit of the passages, in reading order, answers the question (rag.evidence).
    """
    kinds: dict[str, Any] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    built = [kinds[message["role"]](content=message["content"]) for message in messages]
    passages, headings = [hit.chunk.text for hit in hits], ["".join(hit.chunk.section[-1:]) for hit in hits]
    data = {"question": question, "passages": passages, "headings": headings, "unit_scores": unit_scores}
    built[-1].additional_kwargs = data
    return built
