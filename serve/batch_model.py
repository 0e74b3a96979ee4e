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

from emendo.hf_model import HFChatModel, stop_token_ids


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
        row = _Row(messages)
        self._waiting.put(row)
        try:
            while (piece := row.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        finally:
            row.left = True


class _Row:
    """One question in the queue. `pieces` ends with None, or with the error that ended it."""

    def __init__(self, messages: list[BaseMessage]):
        self.messages = messages
        self.pieces: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()
        self.left = False  # the reader went away
        self._ids: list[int] = []
        self._sent = 0

    def add(self, token: int, tokenizer: Any) -> None:
        """Send what is certain: up to the last space, for a later token may change the word before it."""
        self._ids.append(token)
        self._send(tokenizer, whole=False)

    def end(self, tokenizer: Any) -> None:
        self._send(tokenizer, whole=True)
        self.pieces.put(None)

    def _send(self, tokenizer: Any, whole: bool) -> None:
        text = tokenizer.decode(self._ids, skip_special_tokens=True)
        end = len(text) if whole else max(text.rfind(" "), text.rfind("\n")) + 1
        if end > self._sent:
            self.pieces.put(text[self._sent : end])
            self._sent = end


class _RowStreamer:
    """What transformers calls with the tokens of each step, one per row; the prompts come first."""

    def __init__(self, rows: Sequence[_Row], tokenizer: Any, stops: set[int]):
        self._rows: list[_Row | None] = list(rows)
        self._tokenizer = tokenizer
        self._stops = stops
        self._prompts_seen = False

    def put(self, tokens: Any) -> None:
        if not self._prompts_seen:
            self._prompts_seen = True
            return
        for n, token in enumerate(tokens.tolist()):
            row = self._rows[n]
            if row is None:
                continue
            if token in self._stops or row.left:
                row.end(self._tokenizer)
                self._rows[n] = None
            else:
                row.add(token, self._tokenizer)

    def end(self) -> None:
        for row in filter(None, self._rows):
            row.end(self._tokenizer)
        self._rows = []


class _Worker:
    """The thread that decodes, until None is put into `waiting`."""

    def __init__(self, model: HFChatModel, most_rows: int, collect: float):
        self.waiting: queue.SimpleQueue[_Row | None] = queue.SimpleQueue()
        self._ended = False
        self._model = model
        self._most_rows = most_rows
        self._collect = collect
        self._left_over: list[tuple[_Row, list[int]]] = []
        threading.Thread(target=self._work, name="emendo-decoding", daemon=True).start()

    def _work(self) -> None:
        while not self._ended:
            rows = self._next_batch()
            try:
                self._decode(rows)
            except Exception as error:  # noqa: BLE001  (carried to the readers, who raise it)
                for row, _ in rows:
                    row.pieces.put(error)

    def _next_batch(self) -> list[tuple[_Row, list[int]]]:
        """Rows with their prompts that fit one batch; the others are the first of the next."""
        new: list[_Row | None] = []
        if not self._left_over:
            new.append(self.waiting.get())
            time.sleep(self._collect)
        while not self.waiting.empty():
            new.append(self.waiting.get())
        self._ended = None in new
        rows = [*self._left_over, *(self._encoded(row) for row in new if row)]
        rows = [(row, prompt) for row, prompt in rows if not row.left]
        size = longest = 0
        for _, prompt in rows[: self._most_rows]:
            longest = max(longest, len(prompt))
            if size and longest * (size + 1) > self._model.batch_tokens:
                break
            size += 1
        self._left_over = rows[size:]
        return rows[:size]

    def _encoded(self, row: _Row) -> tuple[_Row, list[int]]:
        try:
            return row, self._model._prompt(row.messages)
        except Exception as error:  # noqa: BLE001  (carried to the reader, who raises it)
            row.pieces.put(error)
            row.left = True
            return row, []

    def _decode(self, batch: list[tuple[_Row, list[int]]]) -> None:
        if not batch:
            return
        import torch
        from transformers import StoppingCriteriaList

        model, rows = self._model, [row for row, _ in batch]

        def gone(ids: Any, scores: Any, **_: Any) -> Any:
            return torch.tensor([row.left for row in rows], device=ids.device)

        model._decode(
            [prompt for _, prompt in batch],
            [model._paths(row.messages) for row in rows],
            streamer=_RowStreamer(rows, model.tokenizer, stop_token_ids(model.model, model.tokenizer)),
            stopping_criteria=StoppingCriteriaList([gone]),
        )
