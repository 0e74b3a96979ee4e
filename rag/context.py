"""A sentence or two that place a passage in its manual, written by a chat model and searched together with the passage.

Anthropic, "Contextual Retrieval" (2024): such contexts, in the vectors and in the lexical index, halved the passages missed.
They are for searching alone: no answer, quote or prompt holds them, so a wrong one can hide a passage but never mislead.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from emendo.chat_models import load_chat_model
from emendo.records import Chunk, UserError, content_id
from rag.outline import tidy

MAX_TOKENS = 64  # of the embedder: the room kept for a context in its window
PROMPT = """Here is a passage of the manual "{title}", and the text around it.

Chapter: {section}
<before>{before}</before>
<passage>{text}</passage>
<after>{after}</after>

Write one or two short sentences that say which product and part the passage is about and what a reader would look it up for, \
in words that readers use. Say nothing that is not written above. Reply with the sentences alone, in the passage's language."""
_GROUP = 16  # calls under way together, and what a crash can cost at most
_AROUND = 600  # characters of the neighbouring passages that are shown
_CHARACTERS_PER_TOKEN = 4  # of English; the estimate needs no tokenizer
_REPLY_TOKENS = 50
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True)
class ContextCost:
    """What writing the contexts will take; tokens are estimates."""

    calls: int
    prompt_tokens: int
    reply_tokens: int
    cached: int  # passages whose context was written before


class ContextWriter:
    """Writes contexts with one model, and keeps them in `contexts.sqlite` beside the index by a hash of what was asked."""

    def __init__(self, model: BaseChatModel, spec: str, tell: Callable[[ContextCost], None]):
        self.id = f"{spec}/{content_id(PROMPT)}"
        self._model = model
        self._tell = tell

    def write(
        self,
        directory: Path,
        count_tokens: Callable[[str], int],
        progress: Callable[[str, int, int], None],
        documents: Sequence[Sequence[Chunk]],
    ) -> list[list[Chunk]]:
        """The documents' chunks with their contexts. What it will cost is told before the first call.

        Raises UserError when the model fails; what was written until then is kept for the next run.
        """
        asked = [[self._prompt(chunks, n) for n in range(len(chunks))] for chunks in documents]
        with closing(_open_cache(directory)) as cache:
            known = {key for (key,) in cache.execute("SELECT key FROM contexts")}
            waiting = {
                self._key(prompt): (prompt, chunk.doc_id)
                for prompts, chunks in zip(asked, documents, strict=True)
                for prompt, chunk in zip(prompts, chunks, strict=True)
                if self._key(prompt) not in known
            }
            total = sum(map(len, asked))
            read = sum(len(prompt) for prompt, _ in waiting.values()) // _CHARACTERS_PER_TOKEN
            self._tell(ContextCost(len(waiting), read, len(waiting) * _REPLY_TOKENS, total - len(waiting)))
            for done in self._ask(cache, waiting, count_tokens):
                progress("writing contexts", done, len(waiting))
            written = dict(cache.execute("SELECT key, text FROM contexts"))
        return [
            [replace(chunk, context=written[self._key(prompt)]) for prompt, chunk in zip(prompts, chunks, strict=True)]
            for prompts, chunks in zip(asked, documents, strict=True)
        ]

    def _ask(
        self, cache: sqlite3.Connection, waiting: dict[str, tuple[str, str]], count_tokens: Callable[[str], int]
    ) -> Iterator[int]:
        """Ask what waits, group by group, each kept as soon as it is there; yields how many are done."""
        entries = list(waiting.items())
        for start in range(0, len(entries), _GROUP):
            group = entries[start : start + _GROUP]
            try:
                replies = self._model.batch([[HumanMessage(prompt)] for _, (prompt, _) in group])
            except Exception as error:  # every client library has errors of its own
                raise UserError(
                    f"the contexts' model failed ({type(error).__name__}: {tidy(str(error))[:200]}); {start} of {len(entries)} "
                    "contexts are written and kept; run the command again, or leave out index.context"
                ) from error
            rows = [
                (key, doc_id, _clean(reply.text, count_tokens)) for (key, (_, doc_id)), reply in zip(group, replies, strict=True)
            ]
            with cache:
                cache.executemany("INSERT OR REPLACE INTO contexts VALUES (?, ?, ?)", rows)
            yield start + len(group)

    def _key(self, prompt: str) -> str:
        return content_id(self.id, prompt, length=32)

    def _prompt(self, chunks: Sequence[Chunk], n: int) -> str:
        chunk = chunks[n]
        return PROMPT.format(
            title=chunk.title,
            section=" > ".join(chunk.section) or "(none)",
            before=chunks[n - 1].text[-_AROUND:] if n else "",
            text=chunk.text,
            after=chunks[n + 1].text[:_AROUND] if n + 1 < len(chunks) else "",
        )


def check_writer(spec: str) -> None:
    """Raise UserError for a model that cannot write sentences of its own."""
    if spec == "quote" or spec.startswith("hf:bundled"):
        raise UserError(f"index.context = {spec!r}: this model only copies; expected hf:<model> or openai:<base url>#<model>")


def load_writer(spec: str, tell: Callable[[ContextCost], None] = lambda cost: None) -> ContextWriter | None:
    """The writer with the model `spec`, None for "". UserError for a model that only quotes, or that cannot be loaded."""
    if not spec:
        return None
    check_writer(spec)
    return ContextWriter(load_chat_model(spec), spec, tell)


def forget(directory: Path, doc_ids: Sequence[str]) -> None:
    """Remove what was written for documents that are deleted."""
    if (directory / "contexts.sqlite").exists():
        with closing(_open_cache(directory)) as cache, cache:
            cache.executemany("DELETE FROM contexts WHERE doc_id = ?", [(doc_id,) for doc_id in doc_ids])


def _open_cache(directory: Path) -> sqlite3.Connection:
    cache = sqlite3.connect(directory / "contexts.sqlite")
    cache.execute("PRAGMA secure_delete = ON")
    cache.execute("CREATE TABLE IF NOT EXISTS contexts (key TEXT PRIMARY KEY, doc_id TEXT NOT NULL, text TEXT NOT NULL)")
    return cache


def _clean(reply: str, count_tokens: Callable[[str], int]) -> str:
    """The reply on one line, cut to MAX_TOKENS at a word."""
    words = tidy(_THOUGHT.sub("", reply)).split()
    while words and count_tokens(" ".join(words)) > MAX_TOKENS:
        words.pop()
    return " ".join(words)
