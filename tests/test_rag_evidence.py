"""Which unit answers: exact codes, what is asked for, whole procedures, and no embedding of what words rule out."""

from __future__ import annotations

import dataclasses

from emendo.records import Hit
from rag.evidence import FEATURES, Evidence, find_evidence
from rag.fusion import question_terms
from tests.conftest import make_chunk


def evidence(question: str, *texts: str, section: tuple[str, ...] = ("Care",)) -> list[Evidence]:
    hits = [Hit(make_chunk(f"c{n}", text, section), 1.0, n) for n, text in enumerate(texts, 1)]
    return find_evidence(question, question_terms(question, lambda word: 1.0), hits, lambda question, units: [0.5] * len(units))


def best(question: str, *texts: str, section: tuple[str, ...] = ("Care",)) -> str:
    return max(evidence(question, *texts, section=section), key=lambda found: found.score).unit.text


ERRORS = "Code | Meaning\nE01 | Sensor error\nE02 | No water\nE12 | Sensor error"


def test_the_row_of_the_asked_code_wins_however_it_is_written():
    for written in ("E02", "E-02", "e 02"):
        assert best(f"sensor error {written}", ERRORS, "Any sensor error is shown in the display.") == "E02 | No water"


def test_the_entry_under_the_heading_of_the_code_wins_over_a_row_of_another_list():
    menu = Hit(make_chunk("menu", "E02 - startup assist, pedal or not\nE03 - walk assist", ("Settings",)), 1.0, 1)
    entry = Hit(
        make_chunk(
            "entry", "E02 - torque sensor\nA pedal was pressed. Switch off and on again.", ("Errors", "E02 - torque sensor")
        ),
        1.0,
        2,
    )
    asked = "the display shows E02, was a pedal pressed?"
    found = find_evidence(
        asked, question_terms(asked, lambda word: 1.0), [menu, entry], lambda question, units: [0.5] * len(units)
    )
    assert max(found, key=lambda e: e.score).unit.passage == 1


def test_a_code_that_many_rows_begin_with_tells_less_than_the_heading_of_its_entry():
    menus = [Hit(make_chunk(f"menu{n}", f"E04 - {n} mode of the lights and display", ("Settings",)), 1.0, n) for n in (1, 2, 3)]
    entry = Hit(make_chunk("entry", "E04 - blocked\nThe wheel is stuck.", ("Errors", "E04 - blocked")), 1.0, 4)
    asked = "Got E04 uphill, what is it?"
    terms = question_terms(asked, lambda word: 1.0)
    for hits, expected in (([*menus, entry], 3), ([menus[0]], 0)):
        found = find_evidence(asked, terms, hits, lambda question, units: [0.5] * len(units))
        assert max(found, key=lambda e: e.score).unit.passage == expected


def test_a_row_is_read_with_the_header_of_its_table():
    rows = "Wire | Purpose\nRed | Power\nBlue | Ground", "Lamp | State\nRed | Fault\nGreen | Ready"
    assert best("purpose of the red wire", *rows[::-1]) == "Red | Power"
    assert best("state of the red lamp", *rows) == "Red | Fault"


def test_a_passage_that_the_search_put_far_below_the_best_weighs_less():
    texts = "The pump is blue.", "The pump is green."
    for scores, expected in (((2.0, 1.9), 0), ((0.2, 4.0), 1)):
        hits = [Hit(make_chunk(f"c{n}", t), s, n) for n, (t, s) in enumerate(zip(texts, scores, strict=True), 1)]
        found = find_evidence("pump", question_terms("pump", lambda word: 1.0), hits, lambda question, units: [0.5] * len(units))
        assert max(found, key=lambda e: e.score).unit.passage == expected


def test_a_number_or_a_time_is_preferred_where_one_is_asked_for():
    text = "The filter of the kettle is important. The filter of the kettle lasts 3 months."
    assert "3 months" in best("how long does the filter of the kettle last", text)
    assert "3 months" in best("how often is the filter of the kettle changed", text)


def test_steps_under_the_heading_that_is_asked_for_win_over_a_sentence_about_it():
    steps = "1. Fill the tank.\n2. Add the powder.\n3. Rinse twice."
    prose = "The kettle tells you when to descale the kettle."
    section = ("Descaling the kettle",)
    assert best("how do I descale the kettle", prose, steps, section=section).startswith(("1.", "2.", "3."))
    assert best("when do I descale the kettle", prose, steps, section=section) == prose


def test_units_come_in_reading_order_with_a_value_for_each_feature():
    found = evidence("kettle", "One thing. Two things.", "Three things.")
    assert [(e.unit.passage, e.unit.position) for e in found] == [(0, 0), (0, 1), (1, 0)]
    assert all(len(e.features) == len(FEATURES) for e in found)
    assert evidence("kettle") == [] and evidence("kettle", "| --- |") == []


def test_only_the_best_units_by_words_are_embedded():
    asked: list[str] = []

    def cosines(question: str, units: list[str]) -> list[float]:
        asked.extend(units)
        return [0.1] * len(units)

    text = " ".join(f"Part {n} is grey." for n in range(100)) + " The lamp turns amber."
    hit = Hit(make_chunk("c", text), 1.0, 1)
    found = find_evidence("when does the lamp turn amber", question_terms("lamp turn amber", lambda word: 1.0), [hit], cosines)
    assert len(found) == 101 and len(asked) <= 40 and "The lamp turns amber." in asked
    assert dataclasses.asdict(found[0])["score"] is not None
