"""One model for many chats: questions that wait at the same moment are decoded together, each streamed to its own reader.

A batch is collected for a few milliseconds and decoded to its end; whoever comes later is in the next one. It holds who has
waited longest and those whose prompts are nearest to that one's in length, so little is padded and nobody is passed over. A row
leaves its batch when its answer ends or its reader goes away. As many batches are decoded at once as the model's lock allows.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from emendo.hf_model import HFChatModel, Request
from emendo.text_stream import TextStream


def batched(model: BaseChatModel) -> BaseChatModel:
    """The model, in batches where it is one that decodes here."""
    return BatchedChatModel(inner=model) if isinstance(model, HFChatModel) else model


class BatchedChatModel(BaseChatModel):
    """An HFChatModel whose streams share batches. `rows` is the most that are decoded together."""

    inner: HFChatModel
    rows: int = 32
    collect: float = 0.01  # seconds to wait for companions
    _line: Any = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        self._line = _Line(self.inner, self.rows, self.collect)
        for _ in range(self.inner.lock.readers):
            threading.Thread(target=_work, args=(self._line,), name="emendo-decoding", daemon=True).start()
        weakref.finalize(self, self._line.close)  # the threads end with the model that they serve

    @property
    def _llm_type(self) -> str:
        return "transformers-batched"

    @property
    def model_id(self) -> str:
        return self.inner.model_id

    @property
    def adapter_id(self) -> str:
        return self.inner.adapter_id

    @property
    def context_tokens(self) -> int:
        return self.inner.context_tokens

    def count_prompt_tokens(self, messages: Sequence[dict[str, str]]) -> int:
        return self.inner.count_prompt_tokens(messages)

    def batch(self, inputs: list[Any], *args: Any, **kwargs: Any) -> list[AIMessage]:
        return self.inner.batch(inputs, *args, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = "".join(str(chunk.message.content) for chunk in self._stream(messages))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Pieces as they are decoded; closing the iterator frees the row."""
        stream = TextStream(self.inner.tokenizer)
        self._line.put(self.inner.encode(messages), stream)
        for piece in stream.read():
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


_Row = tuple[Request, TextStream]


class _Line:
    """Requests that wait for a batch, the oldest first."""

    def __init__(self, model: HFChatModel, most_rows: int, collect: float):
        self.model = model
        self._most_rows = most_rows
        self._collect = collect
        self._rows: list[_Row] = []
        self._came = threading.Condition()
        self._closed = False

    def put(self, request: Request, stream: TextStream) -> None:
        with self._came:
            self._rows.append((request, stream))
            self._came.notify()

    def close(self) -> None:
        with self._came:
            self._closed = True
            self._came.notify_all()

    def next_batch(self) -> list[_Row] | None:
        """Rows to decode together, none where all their readers went away or somebody else took them; None when it is closed."""
        with self._came:
            idle = not self._rows
            self._came.wait_for(lambda: self._rows or self._closed)
        if idle:
            time.sleep(self._collect)
        with self._came:
            if self._closed:
                return None
            waiting = [row for row in self._rows if not row[1].left]
            batch = self._fitting(waiting)
            self._rows = [row for row in waiting if row not in batch]
            return batch

    def _fitting(self, waiting: Sequence[_Row]) -> list[_Row]:
        """The first one, and as many of its kind as fit one batch with it, the nearest in length first."""
        if not waiting:
            return []
        first = waiting[0][0]
        alike = [row for row in waiting if bool(row[0].plan) == bool(first.plan)]
        alike.sort(key=lambda row: abs(len(row[0].prompt) - len(first.prompt)))  # stable: of equal ones the oldest
        most_tokens, size, longest = self.model.tokens_at_once(first), 0, 0
        for request, _ in alike[: self._most_rows]:
            longest = max(longest, len(request.prompt))
            if size and longest * (size + 1) > most_tokens:
                break
            size += 1
        return alike[:size]


def _work(line: _Line) -> None:
    """Decode batch after batch until the line is closed."""
    while (rows := line.next_batch()) is not None:
        try:
            if rows:
                line.model.decode([request for request, _ in rows], [stream for _, stream in rows])
        except Exception as error:  # noqa: BLE001  (carried to the readers, who raise it)
            for _, stream in rows:
                stream.end(error)
