"""Approved corrections answer the corrected question at once, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from small_bot import make_context
from test_serve_learning import add_adapter

from emendo.records import AdapterCard, Answer, from_json, to_json
from serve.render import answer_html
from serve.session import ServeContext, ServeSettings
from sft.corrections import correct

QUESTION = "How long does the battery of the kettle last?"
APPROVED = "It lasts 40 hours on one charge. [1]"


@pytest.fixture
def context(tmp_path: Path) -> ServeContext:
    return make_context(tmp_path / "workspace")


def ask(context: ServeContext, question: str = QUESTION, product: str = "") -> Answer:
    *_, answer = context.answer(question, [], product)
    assert isinstance(answer, Answer)
    return answer


def approve(context: ServeContext, question: str = QUESTION) -> str:
    answer = ask(context, question)
    row = correct(answer, APPROVED, [answer.hits[0].chunk.chunk_id])
    number = context.store.add_correction(row)
    assert ask(context, question).text == answer.text, "an open correction changes nothing"
    context.store.set_correction_status(number, "approved")
    return row.correction_id


def test_an_approved_answer_is_given_at_once_with_its_source_until_it_is_rejected(context: ServeContext) -> None:
    correction_id = approve(context)
    for asked in (QUESTION, QUESTION.lower().rstrip("?")):
        answer = ask(context, asked)
        assert answer.text == APPROVED
        assert answer.model_id == f"approved:{correction_id}"
        assert [citation.doc_id for citation in answer.citations] == ["kettle"]
        assert "Approved answer" in answer_html(answer)
    context.store.set_correction_status(1, "rejected")
    assert ask(context).text != APPROVED


@pytest.mark.parametrize(
    ("question", "product"),
    [("How do I replace the bulb?", ""), ("How long does the battery of the kettle 2 last?", ""), (QUESTION, "lamp")],
)
def test_other_questions_codes_and_products_are_answered_by_the_model(context: ServeContext, question: str, product: str) -> None:
    approve(context)
    doc_id = next((d.doc_id for d in context.documents() if product and product in d.source), "")
    assert ask(context, question, doc_id).text != APPROVED


def test_a_question_that_leans_on_the_answer_before_gets_that_products_approved_answer(tmp_path: Path) -> None:
    from rag.ingest import ingest

    context = make_context(tmp_path / "workspace", manuals=False)
    for name, hours in (("Pavo R7", 6), ("Pavo S2", 6)):
        text = f"# {name} manual\n\n## Battery\n\nThe battery of the remote lasts {hours} hours.\n"
        (tmp_path / f"{name}.md").write_text(text)
        ingest(context.index_directory, tmp_path / f"{name}.md", context.embedder, product=name)
    context.refresh()
    question = "How long does the battery of the remote last?"
    *_, first = context.answer(question, [], "Pavo S2")
    assert isinstance(first, Answer)
    row = correct(first, APPROVED, [first.hits[0].chunk.chunk_id])
    context.store.set_correction_status(context.store.add_correction(row), "approved")

    def asked_after(product: str) -> Answer:
        *_, before = context.answer(f"Has the {product} a battery?", [])
        assert isinstance(before, Answer)
        *_, answer = context.answer(question, [before])
        assert isinstance(answer, Answer)
        return answer

    assert asked_after("Pavo S2").text == APPROVED
    assert asked_after("Pavo R7").text != APPROVED


def test_it_retires_when_the_manual_changes(context: ServeContext) -> None:
    from rag.ingest import ingest

    bulb = "How do I replace the bulb?"
    approve(context, bulb)
    assert ask(context, bulb).text == APPROVED
    manual = context.workspace.sources / "lamp.md"
    manual.write_text(manual.read_text().replace("15 minutes", "45 minutes"))
    ingest(context.index_directory, context.workspace.sources, context.embedder)
    assert "45 minutes" in ask(context, bulb).text


def test_it_retires_when_the_serving_adapter_has_learned_it(context: ServeContext) -> None:
    correction_id = approve(context)
    add_adapter(context, "a1")
    file = context.workspace.adapters / "a1" / "card.json"
    card = dataclasses.replace(from_json(AdapterCard, file.read_text()), correction_ids=(correction_id,))
    file.write_text(to_json(card))
    retriever = context.answerer.retriever
    assert retriever is not None
    assert context.memory.recall(QUESTION, QUESTION, str, retriever, "elsewhere") is not None
    assert context.memory.recall(QUESTION, QUESTION, str, retriever, "a1") is None


def test_the_api_gives_it_too(context: ServeContext) -> None:
    from fastapi.testclient import TestClient

    from serve.api import build_api

    approve(context)
    asked = {"model": "emendo", "messages": [{"role": "user", "content": QUESTION}]}
    reply = TestClient(build_api(context), base_url="http://127.0.0.1").post("/v1/chat/completions", json=asked)
    assert reply.json()["choices"][0]["message"]["content"] == APPROVED


def test_it_can_be_turned_off(context: ServeContext) -> None:
    approve(context)
    context.settings = ServeSettings(answer_memory=False)
    assert ask(context).text != APPROVED
