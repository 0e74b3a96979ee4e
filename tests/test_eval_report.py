"""A whole evaluation: arms to verdict and report."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scripted_arms import Say, ScriptedArm, half_right, make_questions, refuse, right, wrong

from emendo.records import AdapterCard, Question, UserError
from eval.compare import Background, evaluate, judge
from eval.gate import Policy
from eval.report import Report
from eval.report_view import mark_numbers
from eval.run import Arm, run_arm

QUESTIONS = make_questions(120, unanswerable=40, per_section=2)
TRAINING = [("Where does the drip tray go?", "Slide the drip tray under the spout until it clicks.", "boiler/tray")]
CARD = AdapterCard(
    "tuned-1",
    "small",
    "",
    "",
    "",
    {},
    ("h1", "h2"),
    ("c1",),
    ("boiler/tray",),
    {"train_first": 2.0, "train_last": 0.5},
    {},
    61.0,
    "",
)


def mostly(good: Say, share: float, otherwise: Say, seed: int = 1) -> Say:
    """Says the one thing of a fixed share of the questions and the other thing of the rest."""

    def say(question: Question) -> str:
        return (good if random.Random(f"{seed}/{question.id}").random() < share else otherwise)(question)

    return say


def _arms(before: Say, after: Say, questions: Sequence[Question] = QUESTIONS, alone: bool = False) -> list[Arm]:
    def make(say: Say, adapter: str, rag: bool) -> Callable[[], ScriptedArm]:
        return lambda: ScriptedArm(questions, say, adapter_id=adapter, rag=rag)

    return [
        arm
        for rag in ((True, False) if alone else (True,))
        for arm in (Arm("base", rag, make(before, "", rag)), Arm("tuned", rag, make(after, "tuned-1", rag), "tuned-1"))
    ]


def _evaluate(out: Path, before: Say, after: Say, questions: Sequence[Question] = QUESTIONS, **options: object) -> Report:
    arms = _arms(before, after, questions, alone=bool(options.pop("alone", False)))
    return evaluate(questions, arms, out, None, Background(**({"training_texts": TRAINING} | options)))  # type: ignore[arg-type]


def test_better_model_is_promoted_and_the_numbers_are_right(tmp_path: Path) -> None:
    report = _evaluate(tmp_path, mostly(right, 0.5, half_right), right, alone=True, training=CARD)
    assert (report.verdict, report.exit_code) == ("PROMOTE", 0)
    data = json.loads(report.json.read_text())
    halves = sum(mostly(right, 0.5, half_right)(q) != right(q) for q in QUESTIONS)
    assert report.primary is not None
    assert report.primary.improved == halves
    assert report.primary.difference == pytest.approx(0.5 * halves / 120)
    assert data["primary"]["comparison"]["after"] == 1.0
    assert len(data["flips"]) == halves
    assert data["refusals"]["tuned-rag"] == {
        "unanswerable_refused": 40,
        "unanswerable_answered": 0,
        "answerable_refused": 0,
        "answerable_answered": 80,
    }
    assert {row.rag for row in report.rows} == {True, False}


def test_the_report_tests_no_metric_of_which_nothing_is_better_and_no_shared_time(tmp_path: Path) -> None:
    page = _evaluate(tmp_path, mostly(right, 0.5, half_right), right).html.read_text(encoding="utf-8")
    rows = {match[1]: match[0] for match in re.finditer(r'<tr><th scope="row">([^<]+?) ?<.*?</tr>', page, re.DOTALL)}
    for label in ("Coverage (questions answered)", "Answer length", "Latency"):
        assert "not tested" in rows[label], label
        assert "p = " not in rows[label], label
    assert "p = " in rows["Fact recall"]


def test_the_loss_gap_says_what_only_the_training_loss_counts(tmp_path: Path) -> None:
    losses = {"train_last": 0.5, "validation_best": 0.75}
    card = replace(CARD, losses=losses, settings={"dropout": 0.05, "replay": 0.0, "replay_text": 0.1})
    page = _evaluate(tmp_path, half_right, right, training=card).html.read_text(encoding="utf-8")
    assert "+0.250 nats per token (training counts dropout and 10% replayed rows, validation does not)" in page
    plain = replace(card, settings={"dropout": 0.0})
    page = _evaluate(tmp_path / "plain", half_right, right, training=plain).html.read_text(encoding="utf-8")
    assert "+0.250 nats per token<" in page


def test_same_model_twice_is_not_promoted(tmp_path: Path) -> None:
    report = _evaluate(tmp_path, mostly(right, 0.6, wrong), mostly(right, 0.6, wrong))
    assert report.verdict == "REJECT"
    assert report.primary is not None and report.primary.p == 1.0


def test_better_answers_but_fewer_refusals_are_rejected(tmp_path: Path) -> None:
    report = _evaluate(tmp_path, mostly(right, 0.3, lambda q: half_right(q)), lambda q: right(q) if q.answerable else wrong(q))
    assert report.verdict == "REJECT"
    assert "abstention recall: -100.0 points" in report.reason or "ruled out" in report.reason


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (refuse, refuse, "refused every question"),
        (refuse, right, "base-rag refused every question"),
    ],
)
def test_all_refused_is_invalid(tmp_path: Path, before: Say, after: Say, said: str) -> None:
    report = _evaluate(tmp_path, before, after)
    assert (report.verdict, report.exit_code) == ("INVALID", 3)
    assert said in report.reason


def test_leak_stops_everything(tmp_path: Path) -> None:
    leaked = [*TRAINING, (QUESTIONS[3].question, "Anything at all.", "")]
    report = _evaluate(tmp_path, wrong, right, training_texts=leaked)
    assert report.verdict == "INVALID"
    assert "same question at q003" in report.reason


def test_adapter_without_its_training_texts_is_invalid(tmp_path: Path) -> None:
    assert "leaks were not looked for" in _evaluate(tmp_path, wrong, right, training_texts=None).reason


def test_questions_without_facts_ask_for_another_primary(tmp_path: Path) -> None:
    bare = [replace(question, facts=()) for question in QUESTIONS]
    report = _evaluate(tmp_path, wrong, right, bare)
    assert report.verdict == "INVALID"
    assert "lock another primary metric" in report.reason


def test_other_questions_in_one_arm_are_invalid(tmp_path: Path) -> None:
    _evaluate(tmp_path, half_right, right)
    assert (
        "no answer to 2 of 122" in judge([*QUESTIONS, *_more(2)], tmp_path, background=Background(training_texts=TRAINING)).reason
    )
    assert "not in the file" in judge(QUESTIONS[:100], tmp_path, background=Background(training_texts=TRAINING)).reason


def _more(n: int) -> list[Question]:
    return [replace(question, id=f"new{i}") for i, question in enumerate(QUESTIONS[:n])]


def test_scoring_an_old_run_needs_no_model_and_says_the_same(tmp_path: Path) -> None:
    first = _evaluate(tmp_path / "run", mostly(right, 0.5, half_right), right)
    before = first.json.read_text()
    again = judge(QUESTIONS, tmp_path / "run", background=Background(training_texts=TRAINING), report_dir=tmp_path / "again")
    assert again.json.read_text() == before
    with pytest.raises(UserError, match="has no arm 'other-rag'"):
        judge(QUESTIONS, tmp_path / "run", after="other")


def test_arm_must_have_the_adapter_it_names(tmp_path: Path) -> None:
    arms = [
        Arm("base", True, lambda: ScriptedArm(QUESTIONS, right)),
        Arm("tuned", True, lambda: ScriptedArm(QUESTIONS, right), "t"),
    ]
    with pytest.raises(UserError, match="wants adapter 't'"):
        evaluate(QUESTIONS, arms, tmp_path)


def test_another_prompt_or_batch_size_is_invalid(tmp_path: Path) -> None:
    _evaluate(tmp_path, half_right, right)
    for file in ("tuned-rag.jsonl", "tuned-rag.manifest.json"):
        (tmp_path / file).unlink()
    run_arm("tuned-rag", ScriptedArm(QUESTIONS, right, adapter_id="tuned-1"), QUESTIONS, tmp_path, batch_size=3)
    assert (
        "batch_size differs: 16 before, 3 after"
        in judge(QUESTIONS, tmp_path, background=Background(training_texts=TRAINING)).reason
    )


def test_json_has_no_nan_and_junit_names_each_check(tmp_path: Path) -> None:
    report = _evaluate(tmp_path, mostly(right, 0.5, half_right), right, make_questions(3, unanswerable=1))
    json.loads(report.json.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in report.json"))
    suite = ElementTree.fromstring(report.junit.read_text())
    names = [case.get("name") for case in suite]
    assert names[:2] == ["valid", "better"]
    assert int(suite.get("failures", -1)) == len(suite.findall("testcase/failure")) > 0
    assert not re.search(r"\b(nan|inf)\b", report.html.read_text(), re.I)


def test_equal_constant_scores_promote_nothing_and_show_no_nan(tmp_path: Path) -> None:
    report = _evaluate(tmp_path, right, right)
    assert report.verdict in ("REJECT", "INCONCLUSIVE")
    assert report.primary is not None
    assert (report.primary.p, report.primary.difference) == (1.0, 0.0)
    json.loads(report.json.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in report.json"))
    assert not re.search(r"\b(nan|inf)\b", report.html.read_text(), re.I)


def test_primary_metric_that_nothing_scores_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    arms = [Arm("base", True, lambda: pytest.fail("asked")), Arm("tuned", True, lambda: pytest.fail("asked"))]
    with pytest.raises(UserError, match="'label_accuracy' is not scored here"):
        evaluate(QUESTIONS, arms, tmp_path, policy=Policy(primary="label_accuracy"))


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open == "h2" and data.strip():
            self.headings.append(data.split(" (")[0])
            self._open = ""


def test_page_is_self_contained_in_order_and_escaped(tmp_path: Path) -> None:
    def attack(question: Question) -> str:
        return f"<script>alert(1)</script> {question.facts[0] if question.facts else ''} and 987 <img src=http://x.y/z>. [1]"

    losses = [{"step": 1, "loss": 2.0}, {"step": 9, "loss": 1.0}, {"step": 9, "eval_loss": 1.2}]
    report = _evaluate(tmp_path, attack, right, alone=True, training=CARD, losses=losses)
    text = report.html.read_text()
    page = _Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "iframe", "object")]
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert links == ["data:,"]
    assert not re.search(r"@import|url\(", text)
    assert "<mark>987</mark>" in text
    wanted = ["The gate", "Differences", "Fixed", "Broken", "Refusals", "Retrieval", "Training"]
    assert page.headings == [*wanted, "Without retrieval", "Latency", "Method", "Manifest"]
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 4
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text


def test_method_is_told_with_the_numbers_of_the_evaluation(tmp_path: Path) -> None:
    unsaid = replace(QUESTIONS[0], facts=())
    report = _evaluate(tmp_path, mostly(right, 0.5, wrong), right, [unsaid, *QUESTIONS[1:]], attempts=2)
    data = json.loads(report.json.read_text())
    c, told = data["primary"]["comparison"], data["method"]
    assert f"on 119 pairs ({c['improved']} better, 0 worse, {119 - c['improved']} equal). Unit: {c['clusters']}" in told["test"]
    assert c["clusters"] < 119
    assert "One-sided, at 0.025" in told["hypothesis"] and "locked before the answers were made" in told["hypothesis"]
    assert told["left out"].startswith("1 of 120 questions") and "1 the question has no gold facts" in told["left out"]
    assert "Adapter number 2" in told["looks"] and "5 guards" in told["several tests"]
    points = f"{100 * data['power']['detectable']:.1f} points"
    assert points in told["power"] and data["power"]["alpha"] == 0.025
    page = report.html.read_text()
    assert all(text in page for text in (points, f"{c['improved']} better, 0 worse", "numpy"))


def test_power_is_that_of_the_level_tested_at(tmp_path: Path) -> None:
    first, third = (
        _evaluate(tmp_path / str(n), mostly(right, 0.5, half_right), right, attempts=n).json.read_text() for n in (1, 3)
    )
    assert json.loads(first)["power"]["detectable"] < json.loads(third)["power"]["detectable"]


@pytest.mark.parametrize("number", [1, 5])
def test_a_handful_of_questions_gets_a_whole_report_without_a_verdict(tmp_path: Path, number: int) -> None:
    report = _evaluate(tmp_path, half_right, right, make_questions(number))
    assert report.verdict == "INCONCLUSIVE"
    assert not re.search(r"\b(nan|inf)\b", report.html.read_text(), re.I)
    assert json.loads(report.json.read_text())["primary"]["comparison"]["n"] == number


def test_marked_numbers_are_whole_and_the_rest_is_escaped() -> None:
    assert mark_numbers("<b> 31 of 310", ("31",)) == "&lt;b&gt; <mark>31</mark> of 310"


def test_two_sides_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs two sides"):
        evaluate(QUESTIONS, _arms(right, right)[:1], tmp_path)
