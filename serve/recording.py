"""A question of the chat page, kept from the moment it is asked: a closed tab or a killed server loses no more than its answer.

Its row in the database is an Answer marked as stopped and without text until there is one; the page shows it as not answered yet.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from types import TracebackType

from emendo.records import Answer
from emendo.store import Store
from rag.answer import stopped_answer

_UNREADABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Recording:
    """One question while it is answered; use it with `with`. A new conversation is made where `conversation_id` is "".

    `adapter` is whom it is asked, so that an answer that never begins is shown under the right name.
    """

    def __init__(self, store: Store, question: str, conversation_id: str, owner: str, beside: str = "", adapter: str = ""):
        self._store = store
        nothing = ((), (), False, 0.0, "", adapter, "", "")
        self._answer = Answer(uuid.uuid4().hex, question, question, "", *nothing, stopped=True, beside=beside)
        self._written = ""
        self.conversation_id = conversation_id or store.create_conversation(title_of(question), owner)
        store.save_answer(self._answer, self.conversation_id, owner)

    @property
    def answer_id(self) -> str:
        return self._answer.answer_id

    def found(self, begun: Answer) -> None:
        """The passages are found, nothing is written yet."""
        self._keep(begun)

    def wrote(self, text: str) -> None:
        """So much is written by now."""
        self._written = text

    def finish(self, answer: Answer) -> None:
        self._keep(answer)

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """A failed question leaves nothing, for the page gives it back; one whose reader went away keeps what was written."""
        if isinstance(error, Exception):
            drop_question(self._store, self.conversation_id, self.answer_id)
        elif error is not None and self._answer.stopped and self._written.strip():
            self._keep(stopped_answer(self._answer, self._written))

    def _keep(self, answer: Answer) -> None:
        self._answer = replace(answer, answer_id=self.answer_id, beside=self._answer.beside)
        self._store.replace_answer(self._answer)


def keep_stopped(store: Store, answer_id: str, written: str) -> bool:
    """Whether the answer has text; `written` becomes it where it had none: a person stopped it there."""
    answer = store.answer(answer_id)
    if not answer.text and written.strip():
        answer = stopped_answer(answer, written)
        store.replace_answer(answer)
    return bool(answer.text)


def drop_question(store: Store, conversation_id: str, answer_id: str) -> str:
    """Take the question or its answer out, and the conversation where it was the only one; what is left of it, or ""."""
    store.delete_answer(answer_id)
    if store.turns(conversation_id):
        return conversation_id
    store.delete_conversation(conversation_id)
    return ""


def readable(text: str) -> str:
    """Without control characters and halves of characters: pasted files hold them, and no database takes them all."""
    return _UNREADABLE.sub("", text).strip()


def title_of(question: str, most: int = 60) -> str:
    """A conversation's first title: its first question on one line, at most `most` characters."""
    line = " ".join(question.split())
    return line if len(line) <= most else line[: most - 1].rsplit(" ", 1)[0] + "…"
