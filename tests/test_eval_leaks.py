"""Planted leaks are caught; what only looks alike is not."""

from __future__ import annotations

import numpy as np
import pytest

from emendo.records import Question
from eval.leaks import TrainingText, find_leaks
from rag.embedder import load_embedder
from rag.prompt import REFUSAL

QUESTION = Question(
    id="q1",
    question="How often must I descale the brew boiler?",
    answerable=True,
    answer="Descale the brew boiler every 3 months or after 220 cups, whichever comes first.",
    facts=("3 months",),
    quote="Descale the brew boiler every 3 months or after 220 cups, whichever comes first.",
    cluster="espresso/descaling",
)
CODE = Question(
    id="q2", question="The display shows E04, what now?", answerable=True, answer="Let it cool down.", cluster="espresso/codes"
)
OTHER = ("Which grind suits the single basket?", "Use grind setting 4 for the single basket. [1]", "espresso/grinding")


def _kinds(*training: tuple[str, str, str], encode: object = None) -> list[tuple[str, str]]:
    check = find_leaks([QUESTION, CODE], training, encode)  # type: ignore[arg-type]
    assert check.clean == (not check.leaks)
    return [(leak.question_id, leak.kind) for leak in check.leaks]


def test_clean_training_data_is_clean() -> None:
    assert _kinds(OTHER) == []


@pytest.mark.parametrize(
    ("training", "kind"),
    [
        (("how often must i descale the brew boiler", "Weekly, with care.", "x/y"), "same question"),
        (("How often must I really descale the brew boiler?", "Weekly, with care.", "x/y"), "near-duplicate question"),
        (
            ("Limescale?", "Descale the brew boiler every 3 months, or after 220 cups (whichever comes first). [2]", "x/y"),
            "same answer",
        ),
        (
            ("Limescale?", "You should descale the brew boiler every 3 months or after 220 cups, whichever comes first", "x/y"),
            "near-duplicate answer",
        ),
        (
            (
                "Limescale?",
                "Hard water leaves scale. Use the maker's own agent. Rinse the tank. Descale the brew boiler every 3 months "
                "or after 220 cups, whichever comes first. Empty the tray, and let the machine rest for an hour afterwards.",
                "x/y",
            ),
            "same passage",
        ),
        (("Anything", "Quite another answer of its own.", "espresso/descaling"), "same section"),
    ],
)
def test_planted_leak_is_caught(training: tuple[str, str, str], kind: str) -> None:
    assert ("q1", kind) in _kinds(OTHER, training)


def test_paraphrased_answer_is_caught_by_its_meaning() -> None:
    def encode(texts: list[str]) -> np.ndarray:
        """Two directions: texts about removing scale, and all others, apart from one another."""
        rows = np.eye(len(texts) + 1)[1:]
        for row, text in zip(rows, texts, strict=True):
            if "scale" in text.lower() or "limestone" in text.lower():
                row[:] = np.eye(len(texts) + 1)[0]
        return np.pad(rows, ((0, 0), (0, 20 - rows.shape[1])))

    paraphrase = ("Hm?", "Remove limestone from the heater once in 3 months, or 220 cups at the latest.", "x/y")
    assert _kinds(OTHER, paraphrase, encode=encode) == [("q1", "paraphrased answer")]
    assert _kinds(OTHER, paraphrase) == []  # words alone do not show it


def test_paraphrase_is_caught_by_the_offline_embedder() -> None:
    embedder = load_embedder("minilm")
    said = ("When?", "The brew boiler has to be descaled every 3 months or after 220 cups, whichever is first.", "x/y")
    assert ("q1", "paraphrased answer") in _kinds(OTHER, said, encode=embedder.encode)
    assert _kinds(OTHER, encode=embedder.encode) == []


def test_questions_that_differ_in_a_code_are_different() -> None:
    everything_alike = lambda texts: np.ones((len(texts), 1))  # noqa: E731
    assert _kinds(("The display shows E07, what now?", "Empty the drip tray and close it.", "x/z"), encode=everything_alike) == []


def test_refusals_and_very_short_answers_are_no_leak() -> None:
    training = [("Colours?", REFUSAL, "x/a"), ("Hot?", "Let it cool down.", "x/b")]
    unanswerable = Question(id="q3", question="Is it sold in red?", answerable=False, answer=REFUSAL, cluster="x/c")
    check = find_leaks([CODE, unanswerable], [TrainingText(*text) for text in training])
    assert check.clean


def test_summary_says_what_was_compared() -> None:
    assert "meaning not compared" in find_leaks([QUESTION], [OTHER]).summary
    assert "same section at q1" in find_leaks([QUESTION], [("a", "b", "espresso/descaling")]).summary
