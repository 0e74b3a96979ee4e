"""The only prompt. Serving, tuning, evaluating and the small model's pretraining all build their messages here."""

from __future__ import annotations

from collections.abc import Sequence

from emendo.records import Answer, Chunk, content_id

REFUSAL = "The manual does not say."
SYSTEM = (
    "You answer questions about products from the numbered passages of their manuals. Use only the passages. "
    "After each statement put the number of the passage it comes from, like [1]. "
    f"If the passages do not hold the answer, reply exactly: {REFUSAL}"
)
PROMPT_VERSION = content_id("prompt-1", SYSTEM, length=8)
Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


def build_messages(question: str, passages: Sequence[Chunk], history: Sequence[Message] = ()) -> list[Message]:
    """Messages that ask `question` over `passages`; passage i is cited as `[i + 1]`.

    `history` holds earlier user and assistant turns, oldest first, without passages.
    """
    numbered = [f"[{n}] {passage.header}\n{passage.text}" for n, passage in enumerate(passages, 1)]
    user = "\n\n".join([*numbered, f"Question: {question}"])
    return [{"role": "system", "content": SYSTEM}, *history, {"role": "user", "content": user}]


def history_messages(turns: Sequence[Answer]) -> list[Message]:
    """Earlier turns as `build_messages` takes them; a turn whose answer never came is left out."""
    said = [turn for turn in turns if turn.text]
    return [
        message
        for turn in said
        for message in ({"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.text})
    ]


def is_refusal(text: str) -> bool:
    """Whether a model's answer is the refusal sentence (alone, or before anything it adds)."""
    return text.strip().lower().startswith(REFUSAL.lower().rstrip("."))
