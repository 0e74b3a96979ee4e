"""The corrections page: filters, faults, personal data, duplicates, editing, and JSONL in and out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from small_bot import make_context

from emendo.records import Answer, Correction
from rag.prompt import REFUSAL
from serve.pages.corrections import FLAGGED, CorrectionsPage
from serve.session import ServeContext
from sft.corrections import correct, write_corrections
from sft.faults import fault_of
from sft.personal import personal_data

QUESTION = "How long does the battery of the kettle last?"


@pytest.fixture
def context(tmp_path: Path) -> ServeContext:
    return make_context(tmp_path / "workspace")


@pytest.fixture
def answer(context: ServeContext) -> Answer:
    return next(piece for piece in context.answer(QUESTION, []) if isinstance(piece, Answer))


def mend(answer: Answer, text: str = "It lasts 40 hours.", *hits: int, refuse: bool = False) -> Correction:
    return correct(answer, text, [answer.hits[n].chunk.chunk_id for n in hits], refuse)


def page_of(context: ServeContext) -> Any:
    with gr.Blocks(analytics_enabled=False):
        return CorrectionsPage(context)


def test_each_fault_is_told_from_the_others(context: ServeContext, answer: Answer) -> None:
    retriever = context.answerer.retriever
    assert fault_of(mend(answer, "It lasts 40 hours.", 0)).name == "generation"
    assert fault_of(mend(answer, refuse=True)).name == "refusal"
    assert fault_of(mend(dataclasses.replace(answer, text=REFUSAL), "40 hours", 0)).name == "refusal"
    elsewhere = dataclasses.replace(answer, text="Turn the bulb. [1]")
    assert fault_of(mend(elsewhere, "Wipe it.", 1)).name == "rank"
    assert fault_of(mend(answer, "Wipe the shade with a dry cloth."), retriever).name == "retrieval"
    assert fault_of(mend(answer, "Polish the brass knob every second Friday morning."), retriever).name == "parse"
    kept = dataclasses.replace(mend(answer, "x", 0), corrected=answer.text)
    assert fault_of(kept).name == "none"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to jane.doe+shop@example.co.uk", "email"),
        ("Call me: +49 (0)30 1234567", "telephone"),
        ("my card 4111 1111 1111 1111", "card number"),
        ("It says SN KX40-22917-B on the back", "serial number"),
    ],
)
def test_personal_data_is_flagged_unless_the_manual_holds_it(answer: Answer, text: str, kind: str) -> None:
    row = dataclasses.replace(mend(answer), question=text)
    [(found, what)] = personal_data(row)
    assert found == kind
    hit = dataclasses.replace(answer.hits[0], chunk=dataclasses.replace(answer.hits[0].chunk, text=f"Service: {what}"))
    assert personal_data(dataclasses.replace(row, hits=(hit,))) == []


@pytest.mark.parametrize(
    "text", ["Descale at 1.5 bar, 2026-01-15, after 12000 cycles", "Error E02 on the AX3", "4111 1111 1111 1112"]
)
def test_figures_of_manuals_are_no_personal_data(answer: Answer, text: str) -> None:
    assert personal_data(dataclasses.replace(mend(answer), question=text)) == []


def test_filters_leave_what_they_name(context: ServeContext, answer: Answer) -> None:
    first = context.store.add_correction(mend(answer, "It lasts 40 hours.", 0))
    flagged = dataclasses.replace(mend(answer, refuse=True), question="I am joe@example.com, can it fly?")
    second = context.store.add_correction(flagged)
    page = page_of(context)

    def listed(*filters: str) -> list[int]:
        return [number for _, number in page.show(*filters)[0].choices]

    assert listed("open") == [first, second]
    assert listed("approved") == []
    assert listed("open", "refusal") == [second]
    assert listed("all", FLAGGED) == [second]
    assert listed("all", "", "FLY") == [second]
    assert "email joe@example.com" in page.show("open", FLAGGED)[1]


def test_repeated_and_contradicting_corrections_are_named(context: ServeContext, answer: Answer) -> None:
    for text in ("It lasts 40 hours.", "It lasts 14 hours."):
        context.store.add_correction(mend(answer, text, 0))
    assert "another answer in No. 2" in page_of(context).show("open")[1]


def test_an_edited_correction_is_a_new_one_to_learn_and_keeps_its_status(context: ServeContext, answer: Answer) -> None:
    number = context.store.add_correction(mend(answer, "It lasts 40 hours.", 0))
    context.store.set_correction_status(number, "approved")
    page = page_of(context)
    page.edit(number, "Forty hours. [1]", "approved")
    ((_, row),) = context.store.corrections("approved")
    assert row.corrected == "Forty hours. [1]"
    assert row.correction_id != mend(answer, "It lasts 40 hours.", 0).correction_id
    for text in (" ", answer.text):
        with pytest.raises(gr.Error, match="corrected answer is"):
            page.edit(number, text, "approved")


def test_what_was_exported_is_imported_and_a_bad_file_changes_nothing(
    context: ServeContext, answer: Answer, tmp_path: Path
) -> None:
    page = page_of(context)
    for name, rows in (("good", [mend(answer, "It lasts 40 hours.", 0)]), ("bad", [])):
        write_corrections(tmp_path / name, rows)
    page.import_file(str(tmp_path / "good"), "open")
    assert len(context.store.corrections("open")) == 1
    assert not (tmp_path / "good").exists(), "nothing stays in the file cache"
    with pytest.raises(gr.Error, match="is empty"):
        page.import_file(str(tmp_path / "bad"), "open")
    assert len(context.store.corrections()) == 1
