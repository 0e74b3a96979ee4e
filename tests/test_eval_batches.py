"""A question asked in a batch gets the answer that it gets alone."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from emendo.config import Workspace
from emendo.demo import DATA, MANUALS
from emendo.records import Answer
from eval.questions import load_questions
from rag.answer import Ask
from rag.assemble import Opener
from rag.ingest import ingest

FILE = "nordhaven_ax3.md"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opener:
    """Over the first third of a manual."""
    folder = tmp_path_factory.mktemp("batches")
    (folder / FILE).write_text((DATA / "manuals" / FILE).read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    opener = Opener(Workspace(folder / "workspace"))
    ingest(opener.workspace.index, folder / FILE, opener.embedder(), product=MANUALS[FILE])
    return opener


def test_batched_and_single_answers_are_equal(opened: Opener) -> None:
    questions = [q for q in load_questions(DATA / "questions.jsonl") if q.product == MANUALS[FILE]][:8]
    model = opened.chat_model("hf:bundled", "", "fp32")  # NF4 computes in bf16: near ties fall either way
    together = opened.answerer(opened.retriever(), model).answer_many([Ask(q.question) for q in questions])
    one_by_one = opened.answerer(opened.retriever(), model)  # a retriever that has seen other sentences before
    alone = [one_by_one.answer(question.question) for question in reversed(questions)][::-1]
    assert [said(answer) for answer in together] == [said(answer) for answer in alone]
    assert len({answer.text for answer in together}) > 2


def said(answer: Answer) -> dict[str, object]:
    """All of an answer that its scores are made of but the times."""
    return {name: value for name, value in asdict(answer).items() if name not in ("answer_id", "timings")}
