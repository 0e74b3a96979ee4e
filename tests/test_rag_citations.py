"""Citations: statements are split as people read them, marks resolve to passages, and support is checked."""

from __future__ import annotations

import dataclasses

import pytest

from rag.citations import drop_unknown_marks, resolve_citations, split_sentences, supports, unsupported


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Every 3 months. [1] Use citric acid. [1]", ["Every 3 months. [1]", "Use citric acid. [1]"]),
        ("1. Open the lid.\n2. Fill to 1.7 L. [2]", ["1. Open the lid.", "2. Fill to 1.7 L. [2]"]),
        ("Hold it approx. 5 seconds. [1]", ["Hold it approx. 5 seconds. [1]"]),
        ("E04 | Pump blocked | Descale [3]", ["E04 | Pump blocked | Descale [3]"]),
        ("", []),
    ],
)
def test_split_sentences(text, parts):
    assert split_sentences(text) == parts


def test_marks_resolve_to_the_passage_page_and_section(hits):
    [first, second] = resolve_citations("Descale every 3 months. [1] The light turns amber at 95 °C. [3]", hits)
    assert (first.n, first.chunk_id, first.pages, first.supported) == (1, "c1", (3,), True)
    assert (second.section, second.supported) == (("Use", "Lights"), True)


def test_a_wrong_number_or_a_foreign_statement_is_not_supported(hits):
    [citation] = resolve_citations("Descale the kettle every 6 months. [1]", hits)
    assert not citation.supported
    assert not supports("The base draws 2,200 W.", "Rinse the filter under the tap.")
    assert unsupported("Descale the kettle every 3 months. [1] Buy a new one every year.", hits) == ["Buy a new one every year."]


def test_a_statement_without_mark_belongs_to_the_next_one(hits):
    [citation] = resolve_citations("Use citric acid only. Descale the kettle every 3 months. [1]", hits)
    assert citation.quote == "Use citric acid only. Descale the kettle every 3 months."


def test_marks_without_a_passage_are_dropped(hits):
    assert drop_unknown_marks("Yes. [7] No. [2]", 3) == "Yes. No. [2]"
    assert resolve_citations("Yes. [9]", hits) == ()


@pytest.mark.parametrize(
    ("passage", "sentence", "good"),
    [
        ("Rinse for 30 seconds.", "Rinse for 30 sec.", True),
        ("Rinse for 30 seconds.", "Rinse for 30 minutes.", False),
        ("Heat to 92 °C (198 °F).", "Heat to 92 degrees, that is 198°F.", True),
        ("Heat to 92 °C (198 °F).", "Heat to 92 °F.", False),
        ("Weight in kg | 12\nDepth in cm | 30", "The weight is 12 kg, the depth 30 cm.", True),  # the unit stands in the heading
        ("Use 2 tablets for 40 ml.", "Use 40 tablets.", True),  # not a unit of measure: not told apart
    ],
)
def test_a_number_keeps_its_unit(passage, sentence, good):
    assert supports(passage, sentence) is good


def test_a_row_of_another_code_does_not_support_an_answer(hits):
    text = "E02 | No water | Fill the tank\nE03 | Blocked | Descale"
    table = [dataclasses.replace(hits[0], chunk=dataclasses.replace(hits[0].chunk, text=text))]
    [right] = resolve_citations("E02 | No water | Fill the tank [1]", table, "what does error E-02 mean")
    [wrong] = resolve_citations("E03 | Blocked | Descale [1]", table, "what does error E-02 mean")
    [unasked] = resolve_citations("E03 | Blocked | Descale [1]", table, "when do I descale the S10")
    assert (right.supported, wrong.supported, unasked.supported) == (True, False, True)
