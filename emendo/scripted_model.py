"""A chat model that says what a script tells it: the shipped fake for tests and demonstrations of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult


class ScriptedChatModel(BaseChatModel):
    """Answers a known question from `script`, any other one with `otherwise`; streams word by word."""

    script: dict[str, str] = {}  # noqa: RUF012  (a pydantic field, copied per instance)
    otherwise: str = "The manual does not say."
    model_id: str = "scripted"

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _reply(self, messages: list[BaseMessage]) -> str:
        question = messages[-1].additional_kwargs.get("question", str(messages[-1].content))
        return self.script.get(question, self.otherwise)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=self._reply(messages)))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for n, word in enumerate(self._reply(messages).split(" ")):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word if n == 0 else f" {word}"))
