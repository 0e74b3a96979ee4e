"""Other wordings of a question: few, different, in the same split, and never another question."""

from __future__ import annotations

import dataclasses
import re

import pytest

from emendo.records import UserError
from sft.augment import mistype, question_variants, rephrase, swap_synonym
from sft.examples import ExampleSettings, build_examples, without_lowest_passage

QUESTIONS = (
    "How do I turn on the Pavo R7 after error E-104?",
    "what does the blinking light mean",
    "can I wash the filter at 60 °C?",
    "display says DRAINED, what now",
    "Wie oft muss ich das Gerät entkalken?",
    "why",
)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_at_most_three_all_different_and_always_the_same(question, count):
    variants = question_variants(question, count, "7")
    assert len(variants) <= min(count, 3)
    assert len({question, *variants}) == 1 + len(variants)
    assert variants == question_variants(question, count, "7")


@pytest.mark.parametrize("question", QUESTIONS)
def test_codes_numbers_and_capitals_stay(question):
    kept = re.findall(r"\w*[A-Z0-9]{2,}\w*|\d+", question)
    for seed in map(str, range(20)):
        for variant in question_variants(question, 3, seed):
            assert all(word in variant for word in kept), variant


def test_each_kind_changes_what_its_name_says(request):
    import random

    dice = random.Random(1)
    assert swap_synonym("how do i turn on the lamp", dice) in ("how do i switch on the lamp", "how do i power on the lamp")
    assert swap_synonym("nothing known here", dice) == "nothing known here"
    assert "descale it" in rephrase("How do I descale it?", dice)
    assert rephrase("How do I descale it?", dice) != "How do I descale it?"
    assert 0 < sum(a != b for a, b in zip(mistype("descale", dice), "descale", strict=False)) < 7
    assert all("ä" in v for v in question_variants("Wie oft muss ich das Gerät entkalken?", 1, "7")), "only mistyped"


def test_only_training_questions_get_wordings_and_only_when_asked_for(correction):
    rows = [
        dataclasses.replace(correction, correction_id=f"k{n}", question=f"how do i descale it, case {n}", cluster=f"s{n}")
        for n in range(10)
    ]
    plain = ExampleSettings(validation_share=0.2, refusal_share=0.3)
    few = build_examples(rows, plain)
    many = build_examples(rows, dataclasses.replace(plain, augment=2))
    assert many.validation == few.validation
    assert [e for e in many.train if e in few.train] == list(few.train), "the other examples are as before"
    added = [e for e in many.train if e not in few.train]
    assert {e.correction_id for e in added} == {e.correction_id for e in few.train}
    assert {e.messages[-1]["content"] for e in added} == {"Descale the kettle every 3 months. [1]"}
    assert not {e.cluster for e in many.train} & {e.cluster for e in many.validation}


def test_a_shortened_example_keeps_its_wording(correction):
    settings = ExampleSettings(validation_share=0, refusal_share=0, augment=1)
    plain, worded = build_examples([correction], settings).train
    shorter = without_lowest_passage(worded, correction)
    assert shorter.passages == ("c1", "c2")
    assert shorter.messages[-2]["content"].endswith(worded.messages[-2]["content"].rpartition("Question: ")[2])
    assert worded.messages[-2] != plain.messages[-2]


def test_more_than_three_wordings_are_refused():
    from emendo.config import load_settings

    with pytest.raises(UserError, match="augment = 4: expected 0 to 3"):
        load_settings(ExampleSettings, "examples", ["examples.augment=4"])
