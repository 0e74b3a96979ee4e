"""The database: what is written comes back, in order, after a restart; a newer or foreign file is refused."""

from __future__ import annotations

import dataclasses
import sqlite3

import pytest

from emendo.records import Answer, Correction, UserError, from_json, to_json
from emendo.store import Store


@pytest.fixture
def answer(hits) -> Answer:
    return Answer("a1", "how often", "how often", "Every 3 months. [1]", (), hits, False, 0.9, "quote", "", "p1", "i1")


def test_records_survive_json(answer, correction):
    assert from_json(Answer, to_json(answer)) == answer
    assert from_json(Correction, to_json(correction)) == correction


def test_conversations_and_answers_survive_a_restart(tmp_path, answer):
    store = Store(tmp_path / "emendo.db")
    older, newer = store.create_conversation("one"), store.create_conversation("two")
    store.save_answer(answer, older)
    store.save_answer(dataclasses.replace(answer, answer_id="a2", question="second"), older)
    store.close()
    store = Store(tmp_path / "emendo.db")
    assert [row["conversation_id"] for row in store.conversations()] == [newer, older]
    assert [turn.answer_id for turn in store.turns(older)] == ["a1", "a2"]
    assert store.answer("a1") == answer
    store.delete_conversation(older)
    assert store.turns(older) == []
    with pytest.raises(UserError, match="no answer 'a1'"):
        store.answer("a1")


def test_conversations_belong_to_their_owner(tmp_path):
    store = Store(tmp_path / "emendo.db")
    store.create_conversation("ana's", owner="ana")
    assert store.conversations("ben") == []
    assert len(store.conversations("ana")) == 1


def test_corrections_are_numbered_once_and_judged(tmp_path, correction):
    store = Store(tmp_path / "emendo.db")
    first = store.add_correction(correction)
    assert store.add_correction(correction) == first, "importing the same correction again changes nothing"
    second = store.add_correction(dataclasses.replace(correction, correction_id="k2", status="open"))
    store.set_correction_status(second, "rejected")
    assert [(n, c.status) for n, c in store.corrections()] == [(first, "approved"), (second, "rejected")]
    assert [n for n, _ in store.corrections("approved")] == [first]
    with pytest.raises(UserError, match="no correction number 99"):
        store.set_correction_status(99, "approved")


def test_the_last_promotion_serves(tmp_path):
    store = Store(tmp_path / "emendo.db")
    assert store.promoted() == ""
    store.promote("a", "PROMOTE", "report.html")
    store.promote("", "ROLLBACK")
    assert store.promoted() == ""
    assert [row["verdict"] for row in store.promotions()] == ["ROLLBACK", "PROMOTE"]


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "emendo.db").write_text("these are my notes, not a database " * 50)
    with pytest.raises(UserError, match="not an Emendo database"):
        Store(tmp_path / "emendo.db")


def test_a_place_that_cannot_be_written_is_no_foreign_file(tmp_path):
    (tmp_path / "emendo.db").mkdir()
    with pytest.raises(
        UserError, match=r"emendo.db does not open \(unable to open database file\); make it and its folder writable"
    ):
        Store(tmp_path / "emendo.db")


def test_a_newer_schema_is_refused(tmp_path):
    Store(tmp_path / "emendo.db").close()
    with sqlite3.connect(tmp_path / "emendo.db") as db:
        db.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(UserError, match="schema version 99"):
        Store(tmp_path / "emendo.db")
