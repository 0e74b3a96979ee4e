"""The turns of a conversation as the chat shows them: a question, then its answer or, side by side, those of two models."""

from __future__ import annotations

import html
from collections.abc import Sequence

from emendo.records import Answer
from serve.render import answer_html

Message = dict[str, str]
SIDES = ("left", "right")


def model_name(adapter_id: str) -> str:
    return f"Adapter {adapter_id}" if adapter_id else "Base model"


def grouped(turns: Sequence[Answer]) -> list[list[Answer]]:
    """The answers to each question: one, or two side by side."""
    groups: list[list[Answer]] = []
    for turn in turns:
        if turn.beside and groups and groups[-1][0].answer_id == turn.beside:
            groups[-1].append(turn)
        else:
            groups.append([turn])
    return groups


def placed(turns: Sequence[Answer]) -> list[tuple[Message, Answer]]:
    """The messages in the order shown, each with the answer it is or asks for."""
    shown: list[tuple[Message, Answer]] = []
    for group in grouped(turns):
        shown.append((question_message(group[0].question), group[0]))
        if len(group) == 1:
            shown.append((bot_message(answer_html(group[0])), group[0]))
            continue
        for answer, side in zip(group, SIDES, strict=True):
            shown.append((bot_message(answer_html(answer, side, model_name(answer.adapter_id))), answer))
    return shown


def messages(turns: Sequence[Answer]) -> list[Message]:
    return [message for message, _ in placed(turns)]


def question_message(question: str) -> Message:
    return {"role": "user", "content": html.escape(question, quote=False)}


def bot_message(content: str) -> Message:
    return {"role": "assistant", "content": content}
