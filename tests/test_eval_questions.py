"""The questions file: what is read, and what each bad line is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emendo.records import UserError
from eval.questions import load_questions, questions_sha256

GOOD = {"id": "q1", "question": "How long?", "answerable": True, "facts": ["5 seconds"], "category": "steps", "cluster": "m/s"}


def _write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_good_rows_are_read_in_order(tmp_path: Path) -> None:
    other = {"id": "q2", "question": "Why?", "answerable": False}
    first, second = load_questions(_write(tmp_path / "q.jsonl", GOOD, "", other))
    assert (first.facts, first.category, first.cluster) == (("5 seconds",), "steps", "m/s")
    assert (second.answerable, second.category, second.answer) == (False, "unanswerable", "")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{oops", r"q\.jsonl:2: not JSON"),
        ([1], "expected a JSON object, got list"),
        (GOOD, "id 'q1' is also on line 1"),
        (GOOD | {"id": " "}, "`id` is missing or empty"),
        (GOOD | {"id": "q2", "question": None}, "`question` is missing or empty"),
        (GOOD | {"id": "q2", "answerable": "yes"}, "`answerable` must be true or false"),
        (GOOD | {"id": "q2", "facts": []}, "no gold; an answerable question needs"),
        (GOOD | {"id": "q2", "answerable": False}, "an unanswerable question has `facts`"),
        (GOOD | {"id": "q2", "category": "stepz"}, "unknown category 'stepz'; did you mean 'steps'"),
        (GOOD | {"id": "q2", "facts": {"a": 1}}, "`facts` must be text, or a list of texts"),
    ],
)
def test_bad_line_is_named_with_its_cure(tmp_path: Path, row: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_questions(_write(tmp_path / "q.jsonl", GOOD, row))


def test_missing_empty_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_questions(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="is empty"):
        load_questions(_write(tmp_path / "empty.jsonl", "", " "))
    (tmp_path / "bin.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not UTF-8"):
        load_questions(tmp_path / "bin.jsonl")


def test_hash_is_of_the_questions_not_of_the_spacing(tmp_path: Path) -> None:
    plain = load_questions(_write(tmp_path / "a.jsonl", GOOD))
    spaced = load_questions(_write(tmp_path / "b.jsonl", "", json.dumps(GOOD, indent=None, separators=(" , ", " : "))))
    changed = load_questions(_write(tmp_path / "c.jsonl", GOOD | {"facts": ["6 seconds"]}))
    assert questions_sha256(plain) == questions_sha256(spaced) != questions_sha256(changed)


def test_real_question_files_are_read(shared_data: Path) -> None:
    counts = {file.parent.name: len(load_questions(file)) for file in shared_data.glob("**/qa*.jsonl")}
    assert counts["emqap"] == 365
    assert counts["offscope"] == 425
    assert all(counts.values())
