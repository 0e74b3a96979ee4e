"""Passages cut for small models: what is kept, in which order, and that citations still lead to the whole passage."""

from __future__ import annotations

import dataclasses

import pytest

from emendo.units import split_units
from rag.embedder import load_embedder
from rag.evidence import find_evidence
from rag.focus import cut_to_evidence
from rag.fusion import question_terms
from rag.unit_vectors import UnitVectors

LONG = "The base draws 2,200 W. Use an earthed socket. Descale the kettle every 3 months. Use citric acid only. Rinse it twice."


def cut_hits(question, hits, passages, units):
    cosines = UnitVectors(load_embedder("hash")).cosines
    evidence = find_evidence(question, question_terms(question, lambda word: 1.0), hits, cosines)
    cut, left = cut_to_evidence(evidence, hits, passages, units)
    shown = [unit.text for n, hit in enumerate(cut) for unit in split_units(hit.chunk.text, n)]
    assert [found.unit.text for found in left] == (shown if left else [])
    return cut


def test_a_passage_keeps_its_best_sentences_and_its_identity(hits):
    whole = dataclasses.replace(hits[0], chunk=dataclasses.replace(hits[0].chunk, text=LONG))
    [cut] = cut_hits("how often should I descale the kettle", [whole], passages=1, units=2)
    assert cut.chunk.text == "Descale the kettle every 3 months. Use citric acid only."
    assert (cut.chunk.chunk_id, cut.chunk.pages, cut.chunk.header) == (
        whole.chunk.chunk_id,
        whole.chunk.pages,
        whole.chunk.header,
    )


def test_passages_are_ranked_by_their_best_sentence_and_numbered_again(hits):
    cut = cut_hits("when does the light turn amber", hits, passages=2, units=1)
    assert cut[0].chunk.chunk_id == "c3"
    assert [hit.rank for hit in cut] == [1, 2]


def test_steps_stay_on_lines_of_their_own(hits):
    steps = dataclasses.replace(hits[0], chunk=dataclasses.replace(hits[0].chunk, text="1. Open the lid.\n2. Fill it.\n3. Boil."))
    [cut] = cut_hits("open the lid", [steps], passages=1, units=3)
    assert cut.chunk.text == "1. Open the lid.\n2. Fill it.\n3. Boil."


def test_a_passage_without_words_is_left_as_it_is(hits):
    empty = dataclasses.replace(hits[0], chunk=dataclasses.replace(hits[0].chunk, text="—"))
    assert cut_hits("anything", [empty], passages=2, units=2) == [empty]


def test_units_are_sentences_steps_and_rows_without_the_header_row():
    text = "Clean it weekly. Dry it, e.g. with a cloth.\n1. Switch off. Wait.\nCode | Meaning\nE1 | Pump blocked\nE2 | Too hot"
    assert [unit.text for unit in split_units(text, 0)] == [
        "Clean it weekly.",
        "Dry it, e.g. with a cloth.",
        "1. Switch off. Wait.",
        "E1 | Pump blocked",
        "E2 | Too hot",
    ]


@pytest.mark.parametrize(
    "text, units",
    [
        (
            "Keep it below 35 °C. Fill at most 60 %. Use USB. Wait.",
            ["Keep it below 35 °C.", "Fill at most 60 %.", "Use USB.", "Wait."],
        ),
        ('Choose "Save as." The page opens.', ['Choose "Save as."', "The page opens."]),
        ('It stays on. "Auto" turns it off.', ["It stays on.", '"Auto" turns it off.']),
        ("Plug it in, e.g. USB. Add approx. 15 ml, max. 20 ml.", ["Plug it in, e.g. USB.", "Add approx. 15 ml, max. 20 ml."]),
        ("Say no. Then press 4. Hold it.", ["Say no.", "Then press 4.", "Hold it."]),
        ("DO NOT OPEN. DANGER OF DEATH.", ["DO NOT OPEN. DANGER OF DEATH."]),
    ],
)
def test_a_sentence_ends_at_its_full_stop_and_not_at_an_abbreviation(text, units):
    assert [unit.text for unit in split_units(text, 0)] == units


@pytest.mark.parametrize(
    "row", ["Weight | 3.2 kg", "LAMP | Turns on when the tank is empty."], ids=["a name and its number", "a sentence"]
)
def test_the_first_row_of_a_table_without_a_header_can_be_quoted(row):
    assert [(unit.text, unit.header) for unit in split_units(f"{row}\nBELL | Rings", 0)] == [(row, ""), ("BELL | Rings", "")]


def test_rows_cut_from_a_table_keep_its_header_so_that_the_best_row_is_not_taken_for_it(hits):
    table = "Message | Meaning\nE1 | Lid open\nE2 | Tank empty\nE3 | Too hot\nUnplug it first."
    whole = dataclasses.replace(hits[0], chunk=dataclasses.replace(hits[0].chunk, text=table))
    [cut] = cut_hits("what does E2 mean", [whole], passages=1, units=3)
    assert cut.chunk.text == "Message | Meaning\nE2 | Tank empty\nE3 | Too hot\nUnplug it first."
