"""Answering in batches, and taking a killed run up again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_arms import ScriptedArm, make_questions, right, wrong
from small_bot import make_context

from emendo.chat_models import load_chat_model
from emendo.records import Question, UserError
from eval.run import read_answers, read_manifest, run_arm
from rag.answer import Answerer

QUESTIONS = make_questions(20, unanswerable=4)


def test_all_questions_are_answered_in_order_and_recorded(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    rows = run_arm("base", ScriptedArm(QUESTIONS, right), QUESTIONS, tmp_path, 8, lambda *done: seen.append(done), seed=3)
    assert [row.question_id for row in rows] == [question.id for question in QUESTIONS]
    assert read_answers(tmp_path, "base") == rows
    assert seen == [("base", 8, 20), ("base", 16, 20), ("base", 20, 20)]
    manifest = read_manifest(tmp_path, "base")
    assert (manifest["model_id"], manifest["batch_size"], manifest["seed"], manifest["questions"]) == ("scripted", 8, 3, 20)
    assert len(manifest["questions_sha256"]) == 64


def test_finished_run_asks_nothing_again(tmp_path: Path) -> None:
    first = run_arm("base", ScriptedArm(QUESTIONS, right), QUESTIONS, tmp_path)
    again = ScriptedArm(QUESTIONS, wrong)
    assert run_arm("base", again, QUESTIONS, tmp_path) == first
    assert again.asked == []


@pytest.mark.parametrize("torn", [b"", b'{"question_id": "q007", "ans', b'{"question_id": "q003", "answer": {"text": "\xc3'])
def test_torn_last_line_is_dropped_and_asked_again(tmp_path: Path, torn: bytes) -> None:
    run_arm("base", ScriptedArm(QUESTIONS, right), QUESTIONS, tmp_path, batch_size=8)
    path = tmp_path / "base.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:11]) + torn)
    answerer = ScriptedArm(QUESTIONS, right)
    rows = run_arm("base", answerer, QUESTIONS, tmp_path, batch_size=8)
    assert answerer.asked == [question.question for question in QUESTIONS[11:]]
    assert [row.question_id for row in rows] == [question.id for question in QUESTIONS]
    assert len(path.read_bytes().splitlines()) == 20


def test_kill_half_way_and_resume(tmp_path: Path) -> None:
    """A process that is killed without warning: nothing that it recorded is asked again, nothing is missing."""
    tests = Path(__file__).parent
    script = f"""
import os, signal, sys
sys.path[:0] = [{str(tests)!r}, {str(tests.parent)!r}]
from pathlib import Path
from scripted_arms import ScriptedArm, make_questions, right
from eval.run import run_arm
questions = make_questions(20, unanswerable=4)
def dies(question):
    if question.id == questions[9].id:
        os.kill(os.getpid(), signal.SIGKILL)
    return right(question)
run_arm("base", ScriptedArm(questions, dies), questions, Path({str(tmp_path)!r}), batch_size=2)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    recorded = [json.loads(line)["question_id"] for line in (tmp_path / "base.jsonl").read_text().splitlines()]
    assert recorded == [question.id for question in QUESTIONS[:8]], "whole batches, each as soon as it is answered"
    answerer = ScriptedArm(QUESTIONS, right)
    rows = run_arm("base", answerer, QUESTIONS, tmp_path, batch_size=2)
    assert answerer.asked == [question.question for question in QUESTIONS[8:]]
    assert [row.question_id for row in rows] == [question.id for question in QUESTIONS]
    kept = [row.question_id for row in read_answers(tmp_path, "base")]
    assert sorted(kept) == sorted(set(kept))


@pytest.mark.parametrize("change", ["model", "questions", "batch"])
def test_another_run_is_not_resumed(tmp_path: Path, change: str) -> None:
    run_arm("base", ScriptedArm(QUESTIONS, right), QUESTIONS, tmp_path)
    answerer = ScriptedArm(QUESTIONS, right, model_id="other" if change == "model" else "scripted")
    questions = QUESTIONS[:5] if change == "questions" else QUESTIONS
    with pytest.raises(UserError, match="holds answers of another run"):
        run_arm("base", answerer, questions, tmp_path, batch_size=4 if change == "batch" else 16)


def test_no_questions_no_answers_and_a_damaged_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no question to ask"):
        run_arm("base", ScriptedArm([], right), [], tmp_path)
    with pytest.raises(UserError, match="no answers of arm 'base'"):
        read_answers(tmp_path, "base")
    (tmp_path / "base.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"base\.jsonl:1 is damaged"):
        read_answers(tmp_path, "base")


def test_arms_that_differ_in_the_adapter_search_once(tmp_path: Path) -> None:
    context = make_context(tmp_path / "ws")
    retriever = context.answerer.retriever
    assert retriever is not None
    questions = [
        Question("a", "How long does the battery last?", True, "40 hours", ("40 hours",)),
        Question("b", "How is the bulb replaced?", True, "Turn it.", ("left",), "lamp"),
    ]
    searches: list[str] = []
    search = retriever.search
    retriever.search = lambda question, *rest: (searches.append(question), search(question, *rest))[1]  # type: ignore[method-assign]
    kept: dict = {}
    rows = {}
    for name in ("base", "tuned"):
        answerer = Answerer(retriever, load_chat_model("quote"), context.answerer.settings)
        answerer.searched = kept
        rows[name] = run_arm(name, answerer, questions, tmp_path / "run")
    assert sorted(searches) == sorted(question.question for question in questions)
    for base, tuned in zip(rows["base"], rows["tuned"], strict=True):
        assert base.answer.text == tuned.answer.text
        assert base.answer.hits == tuned.answer.hits
        assert base.answer.timings["retrieve"] == tuned.answer.timings["retrieve"]  # so that latency stays comparable
