"""Ask every question in every arm and keep the answers: append-only JSONL that a killed run takes up again.

A run is a folder: `<arm>.jsonl` holds one answered question a line, `<arm>.manifest.json` what the answers were made with.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emendo.files import write_whole
from emendo.records import Answer, Question, UserError, from_json
from eval.questions import questions_sha256
from rag.answer import Ask
from rag.prompt import PROMPT_VERSION

Progress = Callable[[str, int, int], None]  # arm, questions answered, questions in all


class Answers(Protocol):
    """What answers questions: rag.answer.Answerer, or anything else with this method."""

    def answer_many(self, asks: Sequence[Ask]) -> list[Answer]: ...


@dataclass(frozen=True)
class Arm:
    """One side of a comparison. `make_answerer` is called when its turn comes, so that one model is in memory at a time."""

    name: str  # "base", "tuned" or any model's name
    rag: bool
    make_answerer: Callable[[], Answers]
    adapter_id: str = ""  # that the answerer must turn out to have; "" for the base model

    @property
    def key(self) -> str:
        return arm_key(self.name, self.rag)


@dataclass(frozen=True)
class Row:
    """One answered question, as it stands in the file."""

    question_id: str
    answer: Answer


def arm_key(name: str, rag: bool) -> str:
    """The arm's name in files and tables."""
    return f"{name}-{'rag' if rag else 'alone'}"


def run_arm(
    arm: str,
    answerer: Answers,
    questions: Sequence[Question],
    out: Path,
    batch_size: int = 16,
    progress: Progress | None = None,
    seed: int = 0,
) -> list[Row]:
    """Ask what has not been answered yet, in batches whose borders are the same in every arm; rows in question order.

    Safe to kill at any moment: a torn last line is dropped and its question asked again, no whole line is. UserError when `out`
    holds answers that were made with something else.
    """
    if not questions:
        raise UserError("there is no question to ask; give a questions file with at least one")
    out.mkdir(parents=True, exist_ok=True)
    _keep_manifest(out / f"{arm}.manifest.json", _manifest(arm, answerer, questions, batch_size, seed))
    path = out / f"{arm}.jsonl"
    rows = {row.question_id: row for row in _whole_rows(path, mend=True)}
    with path.open("ab") as file:
        for start in range(0, len(questions), batch_size):
            batch = [question for question in questions[start : start + batch_size] if question.id not in rows]
            if batch:
                answers = answerer.answer_many([Ask(question.question, product=question.product) for question in batch])
                made = [Row(question.id, answer) for question, answer in zip(batch, answers, strict=True)]
                file.write("".join(_line(row) for row in made).encode())
                file.flush()
                os.fsync(file.fileno())
                rows |= {row.question_id: row for row in made}
            if progress:
                progress(arm, min(start + batch_size, len(questions)), len(questions))
    return [rows[question.id] for question in questions]


def read_answers(out: Path, arm: str) -> list[Row]:
    """The rows of a finished or half-finished arm; UserError where there is none."""
    path = out / f"{arm}.jsonl"
    if not path.exists():
        raise UserError(f"no answers of arm {arm!r} in {out}; found: {', '.join(list_arms(out)) or 'none'}")
    return _whole_rows(path)


def read_manifest(out: Path, arm: str) -> dict[str, Any]:
    path = out / f"{arm}.manifest.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {out} is not the folder of an evaluation run") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete {out} and run again") from error


def list_arms(out: Path) -> list[str]:
    """Keys of the arms that have answers in the run folder."""
    return sorted(path.name.removesuffix(".jsonl") for path in out.glob("*.jsonl"))


def _manifest(arm: str, answerer: Answers, questions: Sequence[Question], batch_size: int, seed: int) -> dict[str, Any]:
    index = getattr(getattr(answerer, "retriever", None), "index", None)
    settings = getattr(answerer, "settings", None)
    return {
        "arm": arm,
        "model_id": str(getattr(answerer, "model_id", type(answerer).__name__)),
        "adapter_id": str(getattr(answerer, "adapter_id", "")),
        "prompt_version": PROMPT_VERSION,
        "index_id": str(getattr(index, "index_id", "")),
        "settings": dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) and not isinstance(settings, type) else {},
        "batch_size": batch_size,
        "seed": seed,
        "questions": len(questions),
        "questions_sha256": questions_sha256(questions),
    }


def _keep_manifest(path: Path, manifest: dict[str, Any]) -> None:
    if path.exists():
        old = read_manifest(path.parent, manifest["arm"])
        changed = [f"{key} was {old.get(key)!r}, is {value!r}" for key, value in manifest.items() if old.get(key) != value]
        if changed:
            raise UserError(f"{path.parent} holds answers of another run ({'; '.join(changed)}); give a new folder or delete it")
        return
    write_whole(path, json.dumps(manifest, indent=1))


def whole_lines(path: Path, mend: bool = False) -> list[str]:
    """The complete lines of an append-only file, none where it is missing; `mend` cuts a torn last line off the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if mend and len(whole) < len(data):
        with path.open("rb+") as file:
            file.truncate(len(whole))
    return whole.decode("utf-8", "replace").splitlines()


def _whole_rows(path: Path, mend: bool = False) -> list[Row]:
    """Rows of the complete lines; `mend` as in `whole_lines`."""
    rows = []
    for number, line in enumerate(whole_lines(path, mend), 1):
        try:
            rows.append(from_json(Row, line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}:{number} is damaged ({error}); delete that line and run again") from error
    return rows


def _line(row: Row) -> str:
    # Unicode line separators are escaped by ensure_ascii: a row is always one line.
    return json.dumps(dataclasses.asdict(row)) + "\n"
