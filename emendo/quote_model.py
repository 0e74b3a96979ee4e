"""The offline default: answers with the manual's own sentences, steps or table rows, and prints nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict

from emendo.records import UserError
from emendo.units import Unit, score_units, split_units

_HOW = re.compile(r"\b(how (do|to|can|should)|steps?|set ?up|install|replace|clean|reset|pair|connect)\b", re.I)


class QuoteChatModel(BaseChatModel):
    """Ranks the units of the passages by idf-weighted word overlap (and embedding similarity) and prints the best, cited.

    It reads the passages from the last message's additional_kwargs, as rag.answer sends them. The decision to refuse is
    made before it, on the retrieval confidence.
    """

    embeddings: Embeddings | None = None
    model_id: str = "quote"
    model_config = ConfigDict(arbitrary_types_allowed=True)
    most_units: int = 3
    most_steps: int = 8

    @property
    def _llm_type(self) -> str:
        return "quote"

    def reply(self, question: str, passages: Sequence[str]) -> str:
        """The chosen units in manual order, each followed by ` [n]`."""
        units = [unit for n, text in enumerate(passages) for unit in split_units(text, n)]
        if not units:
            return "The manual does not say."
        vectors = self.embeddings.embed_documents([unit.text for unit in units]) if self.embeddings else None
        asked = self.embeddings.embed_query(question) if self.embeddings else None
        scores = score_units(question, units, passages, asked, vectors)
        best = max(range(len(units)), key=lambda i: scores[i])
        if units[best].step and _HOW.search(question):
            chosen = _procedure(units, best, self.most_steps)
        else:
            ranked = sorted(range(len(units)), key=lambda i: -scores[i])[: self.most_units]
            chosen = [units[i] for i in ranked if scores[i] >= 0.6 * scores[best]]
        return _render(sorted(chosen, key=lambda u: (u.passage != units[best].passage, u.passage, u.position)))

    def _read(self, messages: list[BaseMessage]) -> str:
        data = messages[-1].additional_kwargs
        if "passages" not in data:
            raise UserError("the quote model answers from passages only; ask it through an index, or choose another --model")
        return self.reply(data["question"], data["passages"])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=self._read(messages)))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in re.findall(r"\S+\s*", self._read(messages)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


def _procedure(units: Sequence[Unit], best: int, most: int) -> list[Unit]:
    """The run of steps around the best one, from its first step on."""
    first = last = best
    while first > 0 and units[first - 1].step and units[first - 1].passage == units[best].passage:
        first -= 1
    while last + 1 < len(units) and units[last + 1].step and units[last + 1].passage == units[best].passage:
        last += 1
    if last - first + 1 > most:
        first = max(first, best - most // 2)
    return list(units[first : min(last + 1, first + most)])


def _render(units: Sequence[Unit]) -> str:
    lines: list[str] = []
    previous: Unit | None = None
    for unit in units:
        text = f"{unit.text} [{unit.passage + 1}]"
        listed = unit.step or " | " in unit.text
        if previous is not None and not listed and not previous.step and " | " not in previous.text:
            lines[-1] += " " + text
        else:
            lines.append(text)
        previous = unit
    return "\n".join(lines)
