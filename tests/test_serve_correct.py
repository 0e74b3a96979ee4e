"""Correcting with a passage that the answer's search missed and a person found."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from small_bot import make_context

from emendo.records import Answer
from serve.pages.correct import CorrectionEditor
from serve.session import ServeContext
from sft.corrections import correct
from sft.examples import build_examples
from sft.faults import fault_of

QUESTION = "How long does the battery of the kettle last?"
RIGHT = "The battery lasts 40 hours."


@pytest.fixture
def context(tmp_path: Path) -> ServeContext:
    return make_context(tmp_path / "workspace")


@pytest.fixture
def missed(context: ServeContext) -> Answer:
    """An answer from the lamp's manual to a question about the kettle."""
    lamp = next(document.doc_id for document in context.documents() if "lamp" in document.source)
    answer = context.answerer.answer(QUESTION, product=lamp)
    assert "40 hours" not in "".join(hit.chunk.text for hit in answer.hits)
    context.store.save_answer(answer, "")
    return answer


def editor_of(context: ServeContext) -> CorrectionEditor:
    with gr.Blocks(analytics_enabled=False), gr.Column() as sources:
        return CorrectionEditor(context, sources)


def test_a_passage_found_by_search_becomes_the_evidence(context: ServeContext, missed: Answer) -> None:
    editor = editor_of(context)
    own = {chunk_id for _, chunk_id in editor.open(missed.answer_id)[editor.evidence].choices}
    listed = editor.search(missed.answer_id, "battery of the kettle", [])
    found = {label: chunk_id for label, chunk_id in listed.choices if chunk_id not in own}
    (chosen,) = [chunk_id for label, chunk_id in found.items() if "40 hours" in label]
    again = editor.search(missed.answer_id, "shade", [chosen])
    assert chosen in [chunk_id for _, chunk_id in again.choices], "what is ticked stays"
    assert again.value == [chosen]

    editor.record(missed.answer_id, RIGHT, [chosen], False, "wrong")
    ((number, correction),) = context.store.corrections("open")
    assert correction.evidence == (chosen,)
    place = next(n for n, hit in enumerate(correction.hits, 1) if hit.chunk.chunk_id == chosen)
    assert correction.corrected == f"{RIGHT} [{place}]"
    assert fault_of(correction).name == "retrieval"
    context.store.set_correction_status(number, "approved")
    (_, approved), *_ = context.store.corrections("approved")
    assert "40 hours" in build_examples([approved]).train[0].messages[-2]["content"], "it can be learned from"


def test_a_passage_that_is_gone_keeps_the_editor_open(context: ServeContext, missed: Answer) -> None:
    editor = editor_of(context)
    kept_open = editor.record(missed.answer_id, RIGHT, ["0" * 16], False, "wrong")
    assert kept_open[editor.panel].visible
    assert context.store.corrections() == []
    with pytest.raises(gr.Error, match="search again"):
        editor.search(missed.answer_id, "kettle", ["0" * 16])


def test_marks_that_name_no_evidence_give_way_to_ones_that_do(context: ServeContext) -> None:
    answer = context.answerer.answer(QUESTION)
    other = answer.hits[1].chunk.chunk_id
    assert correct(answer, "It lasts 40 hours. [1]", [other]).corrected == "It lasts 40 hours. [2]"
    assert correct(answer, answer.text, [other], reason="wrong_source").corrected.endswith("[2]")
    kept = correct(answer, "It lasts 40 hours. [1] Charge it. [2]", [other]).corrected
    assert kept == "It lasts 40 hours. [1] Charge it. [2]"
