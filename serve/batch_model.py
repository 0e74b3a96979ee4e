"""One model for many chats: questions that wait at the same moment are decoded together, each streamed to its own reader.

A batch is collected for a few milliseconds and decoded to its end; whoever comes later is in the next one. A row leaves its batch
when its answer ends or its reader goes away.
"""

from __future__ import annotations

import queue
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
    _waiting: Any = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        worker = _Worker(self.inner, self.rows, self.collect)
        self._waiting = worker.waiting
        weakref.finalize(self, worker.waiting.put, None)  # the thread ends with the model that it serves

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
        self._waiting.put((messages, stream))
        for piece in stream.read():
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


_Asked = tuple[list[BaseMessage], TextStream]
_Encoded = tuple[Request, TextStream]


class _Worker:
    """The thread that decodes, until None is put into `waiting`."""

    def __init__(self, model: HFChatModel, most_rows: int, collect: float):
        self.waiting: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._ended = False
        self._model = model
        self._most_rows = most_rows
        self._collect = collect
        self._left_over: list[_Encoded] = []
        threading.Thread(target=self._work, name="emendo-decoding", daemon=True).start()

    def _work(self) -> None:
        while not self._ended:
            rows = self._next_batch()
            try:
                if rows:
                    self._model.decode([request for request, _ in rows], [stream for _, stream in rows])
            except Exception as error:  # noqa: BLE001  (carried to the readers, who raise it)
                for _, stream in rows:
                    stream.end(error)

    def _next_batch(self) -> list[_Encoded]:
        """Requests that fit one batch; the others are the first of the next."""
        new: list[_Asked | None] = []
        if not self._left_over:
            new.append(self.waiting.get())
            time.sleep(self._collect)
        while not self.waiting.empty():
            new.append(self.waiting.get())
        self._ended = None in new
        rows = [*self._left_over, *(row for asked in new if asked for row in self._encoded(*asked))]
        rows = [(request, stream) for request, stream in rows if not stream.left]
        size = longest = 0
        for request, _ in rows[: self._most_rows]:
            longest = max(longest, len(request.prompt))
            if size and longest * (size + 1) > self._model.batch_tokens:
                break
            size += 1
        self._left_over = rows[size:]
        return rows[:size]

    def _encoded(self, messages: list[BaseMessage], stream: TextStream) -> list[_Encoded]:
        try:
            return [(self._model.encode(messages), stream)]
        except Exception as error:  # noqa: BLE001  (carried to the reader, who raises it)
            stream.end(error)
            return []
