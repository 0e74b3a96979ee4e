"""The part of the API that OpenAI's clients speak: /v1/chat/completions, /v1/models, /v1/embeddings.

A model's name is `emendo`, `emendo/<product or document>` to search only that, and either with `@base` or `@<adapter id>` for
another adapter than the promoted one.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from enum import Enum
from itertools import pairwise
from typing import Any, Literal

import anyio
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from emendo.records import Answer, UserError
from rag.condense import condense
from rag.scope import chosen_scope
from serve.auth import SignedIn, needs
from serve.queue import Waiting
from serve.recording import readable
from serve.session import ServeContext

LOG = logging.getLogger(__name__)
MOST_INPUTS = 256  # texts embedded in one request


class Part(BaseModel):
    """A piece of a message; only text is read."""

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    def text(self) -> str:
        return "".join(part.text for part in self.content) if isinstance(self.content, list) else self.content or ""


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """OpenAI's request. What is not named here (temperature, tools, ...) is taken and not used: answers are greedy and cited."""

    model: str = Field("emendo", examples=["emendo", "emendo/Pavo R7", "emendo@base"])
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None


class EmbeddingRequest(BaseModel):
    input: str | list[str]
    model: str = ""
    encoding_format: Literal["float", "base64"] = "float"


def add_openai_routes(app: FastAPI, context: ServeContext) -> None:
    tags: list[str | Enum] = ["OpenAI-compatible"]

    @app.get("/v1/models", tags=tags, dependencies=[needs("asker")])
    def models() -> dict[str, Any]:
        """`emendo`, and one for each product."""
        context.refresh()
        names = ["emendo", *(f"emendo/{product}" for product in context.products())]
        return {"object": "list", "data": [_model(name) for name in names]}

    @app.get("/v1/models/{name:path}", tags=tags, dependencies=[needs("asker")])
    def model(name: str) -> dict[str, Any]:
        choose(context, name)
        return _model(name)

    @app.post("/v1/chat/completions", response_model=None, tags=tags)
    async def complete(asked: ChatRequest, request: Request, user: SignedIn) -> StreamingResponse | dict[str, Any]:
        """A cited answer to the last message. `citations` and `emendo` are added to OpenAI's fields.

        System messages are not used: Emendo's own prompt is the only one. Earlier turns are read as history.
        """
        product, adapter = await run_in_threadpool(choose, context, asked.model)
        question, turns = read_messages(asked.messages)
        events = await run_in_threadpool(context.answer, question, turns, product, adapter, surface="api")
        reply = _Reply(context, asked, user.name)
        if not asked.stream:
            return await _whole(events, reply, request)
        first = await run_in_threadpool(next, events)  # what is wrong is told before the stream begins
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(_stream(first, events, reply), media_type="text/event-stream", headers=headers)

    @app.post("/v1/embeddings", tags=tags, dependencies=[needs("asker")])
    def embeddings(asked: EmbeddingRequest) -> dict[str, Any]:
        """The index's own embedder; vectors have length 1."""
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        if not texts or len(texts) > MOST_INPUTS:
            raise HTTPException(400, f"input has {len(texts)} texts; expected 1 to {MOST_INPUTS}")
        vectors = context.embedder.encode(texts)
        rows = [vector.tolist() for vector in vectors]
        if asked.encoding_format == "base64":
            rows = [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
        data = [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(rows)]
        count = sum(context.embedder.count_tokens(text) for text in texts)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "model": context.embedder.id, "data": data, "usage": usage}


def choose(context: ServeContext, name: str) -> tuple[str, str | None]:
    """(product, adapter) of a model's name; 404 for a name that is none."""
    head, _, adapter = name.partition("@")
    head, _, product = head.partition("/")
    try:
        if head != "emendo":
            raise UserError(f"no model {name!r}; GET /v1/models lists them")
        if product:
            chosen_scope(product, context.documents())
        known = [file.parent.name for file in context.workspace.adapters.glob("*/adapter_config.json")]
        if adapter not in ("", "base", *known):
            raise UserError(f"no adapter {adapter!r}; known: base{''.join(f', {name}' for name in known)}")
    except UserError as error:
        raise HTTPException(404, str(error)) from error
    return product, "" if adapter == "base" else adapter or None


def read_messages(messages: list[ChatMessage]) -> tuple[str, list[Answer]]:
    """(question, earlier turns) of a conversation that ends with the user's message."""
    said = [message for message in messages if message.role in ("user", "assistant")]
    if not said or said[-1].role != "user":
        raise HTTPException(400, "the last message must be the user's question")
    turns: list[Answer] = []
    for before, after in pairwise(said):
        if (before.role, after.role) == ("user", "assistant"):
            question = before.text()
            nothing = ((), (), False, 0.0, "", "", "", "")
            turns.append(Answer("", question, condense(question, turns), after.text(), *nothing))
    return readable(said[-1].text()), turns


class _Reply:
    """OpenAI's objects for one answer."""

    def __init__(self, context: ServeContext, asked: ChatRequest, owner: str):
        self._context = context
        self._model = asked.model
        self._owner = owner
        self._with_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        self._id, self._created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())

    def save(self, answer: Answer) -> None:
        """Stored before it is sent, so that it can be rated and corrected."""
        self._context.store.save_answer(answer, "", self._owner)

    def whole(self, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage(answer), **_extra(answer)}

    def piece(self, text: str) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk"), "choices": [_delta({"role": "assistant", "content": text})]}

    def last(self, answer: Answer) -> list[dict[str, Any]]:
        head = self._head("chat.completion.chunk")
        chunks = [{**head, "choices": [_delta({}, "stop")], **_extra(answer)}]
        return [*chunks, {**head, "choices": [], "usage": self._usage(answer)}] if self._with_usage else chunks

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _usage(self, answer: Answer) -> dict[str, int]:
        """Counted with the embedder's tokens, which every model has; the prompt is the question and its passages."""
        count = self._context.embedder.count_tokens
        prompt, completion = count(answer.question) + sum(count(hit.chunk.text) for hit in answer.hits), count(answer.text)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _delta(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}


def _extra(answer: Answer) -> dict[str, Any]:
    """What OpenAI's form has no place for."""
    facts = ("answer_id", "text", "standalone", "abstained", "confidence", "model_id", "adapter_id", "index_id", "timings")
    return {
        "citations": [
            {**dataclasses.asdict(citation), "also_in": answer.hits[citation.n - 1].also_in} for citation in answer.citations
        ],
        "emendo": {name: getattr(answer, name) for name in facts},
    }


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "emendo"}


async def _whole(events: Iterator[Waiting | str | Answer], reply: _Reply, request: Request) -> dict[str, Any]:
    try:
        while not isinstance(event := await run_in_threadpool(next, events), Answer):
            if await request.is_disconnected():
                raise HTTPException(499, "the client went away")
        await run_in_threadpool(reply.save, event)
    finally:
        await _close(events)
    return reply.whole(event)


async def _stream(first: Any, events: Iterator[Waiting | str | Answer], reply: _Reply) -> AsyncIterator[str]:
    """Server-sent events. A place in the queue is a comment line, which clients skip and which keeps the connection open."""
    event: Any = first
    try:
        while not isinstance(event, Answer):
            yield f": place {event.place} in the queue\n\n" if isinstance(event, Waiting) else _event(reply.piece(event))
            event = await run_in_threadpool(next, events)
        await run_in_threadpool(reply.save, event)
        for chunk in reply.last(event):
            yield _event(chunk)
        yield "data: [DONE]\n\n"
    except Exception as error:
        told = str(error) if isinstance(error, UserError) else "the answer broke off; the server's log says why"
        if not isinstance(error, UserError):
            LOG.exception("answering failed")
        yield _event({"error": {"message": told, "type": "server_error", "param": None, "code": None}})
    finally:
        await _close(events)


async def _close(events: Any) -> None:
    with anyio.CancelScope(shield=True):  # also when the reader went away
        await run_in_threadpool(events.close)


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
