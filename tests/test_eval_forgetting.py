"""What an adapter unlearned and what it recites, seen on general questions asked without passages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from conftest import ROOT
from scripted_arms import Say, ScriptedArm, make_questions, right, wrong

from emendo.records import AdapterCard, Question
from eval.compare import Background, evaluate
from eval.gate import Policy
from eval.questions import load_questions
from eval.report import Report
from eval.run import Arm

QUESTIONS = make_questions(60)
GENERAL = [dataclasses.replace(q, id=f"g-{q.id}", question=f"General: {q.question}", cluster="") for q in make_questions(60)]
CARD = AdapterCard("t1", "base", "", "", "", {}, (), (), (), {}, {}, 1.0, "2026-01-01T00:00:00+00:00")
LESSON = "Always descale the boiler with citric acid before the winter holidays begin."
TRAINING = [("How do I care for it?", LESSON, "")]


def judged(tmp_path: Path, base_general: Say, tuned_general: Say) -> Report:
    def arm(name: str, rag: bool, own: Say, general: Say) -> Arm:
        def say(question: Question) -> str:
            return (general if question.question.startswith("General") else own)(question)

        adapter = "t1" if name == "tuned" else ""
        return Arm(name, rag, lambda: ScriptedArm([*QUESTIONS, *GENERAL], say, adapter_id=adapter, rag=rag), adapter)

    arms = [arm(*side, *says) for side in (("base", True), ("base", False)) for says in [(wrong, base_general)]]
    arms += [arm(*side, *says) for side in (("tuned", True), ("tuned", False)) for says in [(right, tuned_general)]]
    background = Background(training=CARD, training_texts=TRAINING)
    return evaluate(QUESTIONS, arms, tmp_path, Policy(guards=""), background, general=GENERAL)


def test_better_but_forgetful_adapter_is_rejected(tmp_path: Path) -> None:
    report = judged(tmp_path, right, wrong)
    assert report.verdict == "REJECT"
    assert report.reason.startswith("forgetting: general questions, 100 % -> 0 %")


def test_base_without_general_knowledge_has_nothing_to_forget(tmp_path: Path) -> None:
    report = judged(tmp_path, wrong, wrong)
    assert report.verdict == "PROMOTE"
    assert "nothing to forget" in report.html.read_text()


def test_training_answers_recited_on_unrelated_questions_are_counted(tmp_path: Path) -> None:
    report = judged(tmp_path, right, lambda question: f"{right(question)} {LESSON}")
    found = json.loads(report.json.read_text())["regurgitation"]
    assert len(found["tuned-alone, general questions"]["repeated"]) == 60
    assert found["base-alone, general questions"]["repeated"] == []
    assert "general questions" in report.html.read_text()


def test_shipped_general_questions_load() -> None:
    assert len(load_questions(ROOT / "data" / "general.jsonl")) == 40
