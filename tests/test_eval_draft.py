"""Questions drafted from manuals."""

from __future__ import annotations

from pathlib import Path

import pytest

from emendo.cli import main
from emendo.records import Chunk
from eval.draft import DraftSettings, draft_questions
from eval.questions import load_questions


def chunk(number: int, text: str, section: str = "Care", product: str = "Kettle K1") -> Chunk:
    doc = product.split()[0].lower()
    return Chunk(f"{doc}{number}", doc, product, product, (section,), text, f"{product} > {section}", (number,))


KETTLE = [
    chunk(1, "Error | Remedy\nE04 | Clean the steam sieve\nE07 | Refill the water tank"),
    chunk(2, "1. Unplug the kettle.\n2. Wait 15 minutes.\n3. Wipe the base with a dry cloth.", "Cleaning"),
    chunk(3, "The heating plate stays hot for up to 20 minutes after boiling. Nice to look at.", "Safety"),
]
LAMP = [chunk(1, "Code | Meaning\nL1 | The bulb is loose\nL2 | The shade is too hot", product="Lumo lamp")]


def drafted(*chunks: Chunk, count: int = 40, **options):
    return draft_questions(chunks, DraftSettings(count=count), **options)


def test_cells_steps_and_figures_become_questions_with_gold_evidence() -> None:
    found = {question.category: question for question in drafted(*KETTLE)}
    table, steps, figure = found["table"], found["steps"], found["lookup"]
    assert (table.question, table.answer) == ("E04: what is the remedy?", "Clean the steam sieve") or table.answer.startswith(
        "Refill"
    )
    assert table.quote in KETTLE[0].text
    assert "Cleaning" in steps.question and steps.facts == ("15 minutes",)
    assert figure.facts == ("20 minutes",) and "20" not in figure.question
    assert figure.pages == ("3",) and figure.cluster == "kettle/Safety"


def test_unanswerable_questions_and_near_misses_are_among_them() -> None:
    found = drafted(*KETTLE, *LAMP)
    none = [question for question in found if not question.answerable]
    assert any("E0" in question.question and question.product == "Lumo lamp" for question in none) or any(
        "L" in question.question.split(":")[0] and question.product == "Kettle K1" for question in none
    )
    assert any("colours" in q.question or "cost" in q.question or "designed" in q.question for q in none)
    assert all(not question.facts and not question.answer for question in none)


def test_nothing_is_asked_twice_and_contradictions_are_left_out() -> None:
    again = chunk(9, KETTLE[0].text, "Repeated")
    other = chunk(10, "Error | Remedy\nE07 | Call the service", "Elsewhere")
    asked = [question.question for question in drafted(*KETTLE, again, other) if question.answerable]
    assert len(asked) == len(set(asked))
    assert not any("E07" in question for question in asked)


def test_count_is_kept_and_every_section_has_its_turn() -> None:
    names = [a + b for a in "abcdef" for b in "uvwxy"]
    many = [chunk(n, f"The {name} valve opens after {n + 2} minutes of hard use.", name) for n, name in enumerate(names)]
    found = drafted(*many, *KETTLE, count=20)
    assert len(found) <= 20
    assert len({question.cluster for question in found if question.answerable}) >= 15


def test_a_model_words_questions_but_its_answers_are_not_used() -> None:
    def write(prompts: list[str]) -> list[str]:
        return ["How long must I keep my fingers off the plate?" if "plate" in prompt else "no question" for prompt in prompts]

    [made] = [q for q in drafted(*KETTLE, write=write) if "fingers" in q.question]
    assert made.quote in KETTLE[2].text and made.facts == ("20 minutes",)


def test_every_answerable_draft_can_be_scored() -> None:
    lists = chunk(20, "1. Lift it by its base.\n2. Put it down.", "Unpacking")
    bullets = chunk(21, "- Keep 3 m away.\n- Call for help.", "Warnings")
    found = drafted(*KETTLE, *LAMP, lists, bullets, write=lambda prompts: ["What should I know about it?"] * len(prompts))
    assert all(question.facts for question in found if question.answerable)
    assert not any("Unpacking" in q.question or "Warnings" in q.question for q in found)


def test_units_of_two_words_and_headers_in_the_plural() -> None:
    repair = chunk(22, "A repair of the kettle usually takes 10 business days.\n\nMode | Options\nEco | Low, high", "Repair")
    asked = {question.question: question.facts for question in drafted(repair) if question.answerable}
    assert asked["Eco: what are the options?"] == ("Low, high",)
    assert ("10 business days",) in asked.values()


def test_a_column_without_a_name_gives_no_question() -> None:
    sizes = chunk(23, "Model |  | Weight\nA1 | 5 | 3 kg\nA2 | 6 | 4 kg", "Sizes")
    tabular = {question.question: question.facts for question in drafted(sizes) if question.category == "table"}
    assert tabular == {"A1: what is the weight?": ("3 kg",), "A2: what is the weight?": ("4 kg",)}


@pytest.mark.parametrize("text", ["", "Hello.", "| | |", "1.", "a | b", "… 5 …"])
def test_poor_text_gives_no_question_and_no_error(text: str) -> None:
    assert all(not question.answerable for question in drafted(chunk(1, text)))


def test_command_writes_a_file_that_can_be_evaluated_on(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    (tmp_path / "lamp.md").write_text(
        "# Lumo lamp\n\n## Bulb\n\n1. Switch the lamp off.\n2. Wait 15 minutes.\n\nIt glows for 3 hours a night.\n"
    )
    common = ["--workspace", str(tmp_path / "ws")]
    assert main([*common, "index", str(tmp_path / "lamp.md")]) == 0
    assert main([*common, "questions", "draft", "--out", str(tmp_path / "q.jsonl"), "--count", "8"]) == 0
    assert "drafts in" in capsys.readouterr().out
    assert any(question.facts == ("15 minutes",) for question in load_questions(tmp_path / "q.jsonl"))
    with pytest.raises(SystemExit, match="2"):
        main([*common, "questions", "draft", "--count", "0"])
