"""Drafts of test questions, read and decided on the evaluation page."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from running_site import running
from small_bot import make_context
from test_serve_browser import browser, open_page, open_tab, serious  # noqa: F401  (the fixture is used by its name)

from emendo.cli import main
from emendo.question_drafts import QuestionDrafts
from emendo.records import Question, UserError
from eval.questions import load_questions
from serve.pages.drafts import DraftsSection

DRAFTS = [
    Question(
        "d1", "Battery: what is the life?", True, "40 hours", ("40 hours",), "kettle", "Battery", ("1",), "It lasts 40 hours."
    ),
    Question(
        "d2", "What belongs in the gap: “Let it cool for … minutes”?", True, "15", ("15",), "lamp", quote="Cool for 15 minutes."
    ),
    Question("d3", "Which colours is the lamp sold in?", False, product="lamp", category="unanswerable"),
]


@pytest.fixture
def drafts(tmp_path: Path) -> QuestionDrafts:
    box = QuestionDrafts(tmp_path / "questions")
    assert box.add(DRAFTS) == 3
    return box


def section_of(context: Any) -> DraftsSection:
    with gr.Blocks(analytics_enabled=False):
        return DraftsSection(context)


def test_what_is_accepted_can_be_evaluated_on_and_is_never_proposed_again(drafts: QuestionDrafts) -> None:
    drafts.accept("d1", " How long does the  kettle's battery last? ", ["40 hours|40 h", " "], "40 hours", "rita")
    drafts.reject("d2", "rita")
    again = QuestionDrafts(drafts.folder)  # as after a restart
    assert [draft.id for draft in again.waiting()] == ["d3"]
    assert again.counts() == (1, 1)
    assert again.add(DRAFTS) == 0
    [question] = load_questions(drafts.accepted_file)
    assert (question.id, question.question) == ("d1", "How long does the kettle's battery last?")
    assert (question.facts, question.pages, question.quote) == (("40 hours|40 h",), ("1",), "It lasts 40 hours.")
    assert json.loads(drafts.accepted_file.read_text())["decided_by"] == "rita"


def test_nothing_is_accepted_twice(drafts: QuestionDrafts) -> None:
    drafts.accept("d1", "How long does it last?", ["40 hours"], "", "rita")
    with pytest.raises(UserError, match="does not wait any more"):
        drafts.accept("d1", "How long does it last?", ["40 hours"], "", "rita")
    with pytest.raises(UserError, match="does not wait any more"):
        drafts.reject("d1", "ben")
    drafts.add([Question("d4", "?", True, "40 hours", product="kettle")])
    with pytest.raises(UserError, match="accepted before"):
        drafts.accept("d4", "how long does it last", ["40 hours"], "", "rita")


def test_ten_people_accepting_at_once_accept_once(drafts: QuestionDrafts) -> None:
    refused: list[UserError] = []

    def press() -> None:
        try:
            QuestionDrafts(drafts.folder).accept("d3", "Is the lamp sold in blue?", [], "", "x")
        except UserError as error:
            refused.append(error)

    people = [threading.Thread(target=press) for _ in range(10)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert (len(load_questions(drafts.accepted_file)), len(refused)) == (1, 9)


@pytest.mark.parametrize(
    ("question", "facts", "told"), [("  ", ["40 hours"], "question is empty"), ("How long?", [" "], "no gold")]
)
def test_a_question_without_words_or_gold_is_not_accepted(
    drafts: QuestionDrafts, question: str, facts: list[str], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        drafts.accept("d1", question, facts, "", "rita")
    assert len(drafts.waiting()) == 3


def test_a_damaged_file_is_named_with_its_line(drafts: QuestionDrafts) -> None:
    (drafts.folder / "rejected.jsonl").write_text('{"id": "d1"}\n')
    with pytest.raises(UserError, match=r"rejected.jsonl:1: this is no question"):
        drafts.waiting()


def test_command_proposes_to_the_page_and_not_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    context = make_context(tmp_path / "ws")
    command = ["--workspace", str(tmp_path / "ws"), "--json", "questions", "draft", "--count", "6"]
    assert main(command) == 0
    new = json.loads(capsys.readouterr().out)["new"]
    assert new == len(QuestionDrafts(context.workspace.questions).waiting()) > 0
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 0


def test_only_reviewers_see_drafts_and_decide(tmp_path: Path) -> None:
    context = make_context(tmp_path / "ws")
    section = section_of(context)
    assert "No draft waits" in section.show()[1]
    section.drafts.add([*DRAFTS, Question("d5", "<script>alert(1)</script>", True, "x", quote="<img src=x>")])
    assert "<img" not in section.show("d5")[4]
    assert section.show("d3")[5] == DRAFTS[2].question
    context.accounts.add("ada", "admin", "ada ada ada")  # from now on nobody is signed in here
    with pytest.raises(gr.Error):
        section.accept_one("d1", "How long?", "40 hours", "")
    assert len(section.drafts.waiting()) == 4


def test_read_reword_accept_and_reject_in_the_browser(tmp_path: Path, browser: Any) -> None:  # noqa: F811
    with running(tmp_path / "ws") as (context, url):
        box = QuestionDrafts(context.workspace.questions)
        box.add(DRAFTS)
        page, faults = open_page(browser, url, width=390)
        open_tab(page, "Evaluation")
        page.click("#drafts button:has-text('Test questions')")
        page.get_by_text("3 to read, 0 accepted").wait_for()
        assert "It lasts 40 hours." in page.inner_text("#draft-source")
        page.fill("#draft-question textarea", "How long does the kettle's battery last?")
        page.click("#draft-accept")
        page.get_by_text("2 to read, 1 accepted").wait_for()
        page.click("#draft-reject")
        page.get_by_text("1 to read, 1 accepted, 1 rejected").wait_for()
        assert not page.is_visible("#draft-facts")  # what no manual says has no facts
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(path=str(tmp_path / "drafts.png"))
        page.reload()
        open_tab(page, "Evaluation")
        page.click("#drafts button:has-text('Test questions')")
        page.get_by_text("1 to read, 1 accepted, 1 rejected").wait_for()
        assert faults == []
        page.close()
        assert [question.question for question in load_questions(box.accepted_file)] == [
            "How long does the kettle's battery last?"
        ]
