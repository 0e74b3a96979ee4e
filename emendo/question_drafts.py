"""Drafts of test questions on their way to a person, who accepts or rejects each once.

| file in workspace/questions | |
|---|---|
| `drafts.jsonl` | what `emendo questions draft` proposed |
| `accepted.jsonl` | what a person accepted, perhaps reworded; `emendo eval run --questions` takes it |
| `rejected.jsonl` | the drafts a person did not want, so that they are not proposed again |
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emendo.files import read_jsonl
from emendo.records import Question, UserError, from_json


@dataclass(frozen=True)
class QuestionDrafts:
    """The three files of one workspace. Every change is made under a lock and is one appended line: servers may share them."""

    folder: Path

    @property
    def accepted_file(self) -> Path:
        return self.folder / "accepted.jsonl"

    def add(self, drafts: Sequence[Question]) -> int:
        """Propose what was never proposed before; how many that were."""
        with self._locked():
            known = {question.id for question in self._read("drafts")}
            new = [draft for draft in drafts if draft.id not in known]
            self._append("drafts", new)
        return len(new)

    def waiting(self) -> list[Question]:
        """Drafts that nobody has decided on, in the order they were proposed."""
        decided = {question.id for name in ("accepted", "rejected") for question in self._read(name)}
        return [draft for draft in self._read("drafts") if draft.id not in decided]

    def counts(self) -> tuple[int, int]:
        """(accepted, rejected)."""
        return len(self._read("accepted")), len(self._read("rejected"))

    def accept(self, draft_id: str, question: str, facts: Sequence[str], answer: str, by: str) -> Question:
        """Take the draft into the test questions, as reworded; UserError where it lacks gold or asks what is asked already."""
        with self._locked():
            draft = self._find(draft_id)
            facts = tuple(fact.strip() for fact in facts if fact.strip())
            made = dataclasses.replace(draft, question=" ".join(question.split()), facts=facts, answer=answer.strip())
            if not made.question:
                raise UserError("the question is empty; write one, or reject the draft")
            if made.answerable and not (made.facts or made.answer):
                raise UserError("the question has no gold; give the facts an answer must hold, or the answer")
            twin = next((q for q in self._read("accepted") if _wording(q) == _wording(made)), None)
            if twin:
                raise UserError(f"this was accepted before ({twin.id}); reword it, or reject it")
            self._append("accepted", [made], by)
        return made

    def reject(self, draft_id: str, by: str) -> None:
        with self._locked():
            self._append("rejected", [self._find(draft_id)], by)

    def _find(self, draft_id: str) -> Question:
        for draft in self.waiting():
            if draft.id == draft_id:
                return draft
        raise UserError(f"draft {draft_id!r} does not wait any more: somebody has decided on it; choose another one")

    def _read(self, name: str) -> list[Question]:
        path = self.folder / f"{name}.jsonl"
        if not path.exists() or not path.stat().st_size:
            return []
        found = []
        for place, row in read_jsonl(path, name):
            try:
                found.append(from_json(Question, row))
            except (KeyError, TypeError) as error:
                raise UserError(f"{place}: this is no question ({error}); mend or delete the line") from error
        return found

    def _append(self, name: str, questions: Sequence[Question], by: str = "") -> None:
        signed = {"decided_by": by} if by else {}
        rows = [json.dumps(dataclasses.asdict(question) | signed, ensure_ascii=True) + "\n" for question in questions]
        with (self.folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write("".join(rows))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _wording(question: Question) -> tuple[str, str]:
    return question.product, question.question.casefold().rstrip("?. ")
