"""What each step of the search adds: `emendo eval retrieval`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import make_chunk

from emendo.cli import main
from emendo.records import Hit, Question
from eval.retrieval_ablation import OtherVectors, holds_evidence
from rag.embedder import HashEmbedder
from rag.index import indexed_text, open_index
from rag.ingest import ingest

MANUAL = """# Kettle K1

## Descaling

Descale the kettle every 3 months with citric acid only.

## Lid

The lid opens with the button on the handle.

## Base

The base draws 2,200 W from an earthed socket.
"""
ROWS = [
    {"id": "a", "question": "how often descale", "quote": "Descale the kettle every 3 months with citric acid only."},
    {"id": "b", "question": "which button opens the lid", "quote": "The lid opens with the button on the handle."},
    {"id": "c", "question": "how many watts", "quote": "This stands in no manual at all, whatever one asks."},
]


def question(quote: str, answer: str = "") -> Question:
    return Question("q", "?", True, quote=quote, answer=answer)


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    (tmp_path / "kettle.md").write_text(MANUAL)
    assert main(["index", str(tmp_path / "kettle.md")]) == 0
    rows = [row | {"answerable": True, "answer": row["quote"]} for row in ROWS]
    rows.append({"id": "d", "question": "is it red", "answerable": False})
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "q.jsonl"


def test_each_row_adds_a_step_and_is_compared_with_the_one_above(questions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["eval", "retrieval", "--questions", str(questions), "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)
    assert [step["name"] for step in steps][:4] == ["plain dense", "+ header", "+ lexical", "+ fusion"]
    whole = next(step for step in steps if step["name"] == "+ fusion")
    assert whole["hit_at_1"]["value"] == pytest.approx(2 / 3) and dict(whole["ranks"]) == {"a": 1, "b": 1, "c": 0}
    assert steps[0]["against_above"] is None and whole["against_above"]["n"] == 3
    for step in steps:
        interval = step["hit_at_5"]["interval"]
        assert 0 <= interval["low"] <= step["hit_at_5"]["value"] <= interval["high"] <= 1
    assert main(["eval", "retrieval", "--questions", str(questions)]) == 0
    out = capsys.readouterr().out
    assert "3 questions" in out and "+ lexical" in out


def test_questions_without_evidence_are_refused(questions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions.write_text(json.dumps({"id": "d", "question": "is it red", "answerable": False}) + "\n")
    assert main(["eval", "retrieval", "--questions", str(questions)]) == 2
    assert "`quote`" in capsys.readouterr().err


def test_evidence_is_found_in_small_and_in_large_passages() -> None:
    text = "Descale the kettle every 3 months. Use citric acid only. Rinse it twice."
    hit = Hit(make_chunk("a", text), 1.0, 1)
    assert holds_evidence(question("Use citric acid only."), hit), "the quote is in the passage"
    assert holds_evidence(question(text + " Then fill it to the mark, boil it once more and pour the water out."), hit)
    assert holds_evidence(question("", answer="Rinse it twice."), hit)
    assert not holds_evidence(question("The base draws 2,200 W from an earthed socket."), hit)
    buried = Hit(make_chunk("b", "Filler words stand here. " * 200 + text), 1.0, 1)
    assert not holds_evidence(question("Use citric acid only."), buried), "no gain from very long passages"


def test_other_vectors_of_the_same_texts_rank_as_the_index_does(tmp_path: Path) -> None:
    (tmp_path / "kettle.md").write_text(MANUAL)
    embedder = HashEmbedder()
    ingest(tmp_path / "index", tmp_path / "kettle.md", embedder)
    index = open_index(tmp_path / "index", embedder)
    other = OtherVectors(index, embedder, indexed_text, lambda what, done, total: None, "test")
    vector = embedder.encode(["citric acid"])[0]
    expected = index.dense(vector, 3)
    assert [name for name, _ in other.dense(vector, 3)] == [name for name, _ in expected]
    assert [score for _, score in other.dense(vector, 3)] == pytest.approx([score for _, score in expected])
    assert other.dense(vector, 3, []) == [] and other.lexical("citric", 1) == index.lexical("citric", 1)
