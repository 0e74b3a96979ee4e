"""The sample data keeps its promises: sound rows, literal quotes, held-out clusters, no near-duplicate questions."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parent.parent / "data"
MANUALS = {
    "espresso": DATA / "src" / "espresso.md",
    "vacuum": DATA / "src" / "vacuum.md",
    "router": DATA / "manuals" / "nordhaven_ax3.md",
}
QUESTION_FIELDS = {
    "id", "question", "answer", "facts", "answerable", "product", "section", "quote", "category", "cluster", "pages",
}  # fmt: skip
CORRECTION_FIELDS = {
    "id", "question", "corrected", "evidence", "facts", "product", "section", "should_abstain", "reason", "cluster", "pages",
}  # fmt: skip
CATEGORIES = {"lookup", "steps", "table", "error_code", "safety", "multi", "unanswerable"}
REASONS = {"wrong", "incomplete", "wrong_source", "should_have_refused", "over_refused"}
REFUSAL = "The manual does not say."


def read(kind: str) -> list[dict]:
    paths = sorted((DATA / "src").glob(f"{kind}_*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def plain(text: str) -> str:
    """Text without Markdown signs, on one line."""
    return " ".join(re.sub(r"[|>#]", " ", re.sub(r"[*`_\\]", "", text)).split())


def slug(row: dict) -> str:
    return row["cluster"].split("/")[0]


def holds(text: str, fact: str) -> bool:
    """Whether one of the fact's alternatives stands in the text as whole words."""
    return any(re.search(rf"(?<!\w){re.escape(plain(one))}(?!\w)", plain(text), re.IGNORECASE) for one in fact.split("|"))


def five_grams(question: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", question.casefold())
    return set(zip(*(words[start:] for start in range(5)), strict=False))


QUESTIONS = read("questions")
CORRECTIONS = read("corrections")
ROWS = QUESTIONS + CORRECTIONS


@pytest.fixture(scope="module")
def manuals() -> dict[str, str]:
    return {name: plain(path.read_text(encoding="utf-8")) for name, path in MANUALS.items()}


def test_there_is_enough_of_everything():
    assert len(QUESTIONS) >= 180
    assert sum(not row["answerable"] for row in QUESTIONS) >= 40
    assert len(CORRECTIONS) >= 150


def test_rows_have_all_fields_and_known_labels():
    for row in QUESTIONS:
        assert row.keys() >= QUESTION_FIELDS, row["id"]
        assert row["category"] in CATEGORIES, row["id"]
    for row in CORRECTIONS:
        assert row.keys() >= CORRECTION_FIELDS, row["id"]
        assert row["reason"] in REASONS, row["id"]


def test_ids_are_unique():
    ids = [row["id"] for row in ROWS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", MANUALS)
def test_manuals_are_long_enough(manuals, name):
    assert len(manuals[name].split()) >= 7000


def test_quotes_stand_literally_in_the_manual(manuals):
    quotes = [(row, row["quote"]) for row in QUESTIONS if row["answerable"]]
    quotes += [(row, quote) for row in CORRECTIONS for quote in row["evidence"]]
    missing = [row["id"] for row, quote in quotes if not plain(quote) or plain(quote) not in manuals[slug(row)]]
    assert not missing


def test_facts_stand_in_the_quote_and_not_in_the_question():
    for row in ROWS:
        source = row["quote"] if "quote" in row else " ".join(row["evidence"])
        for fact in row["facts"]:
            assert holds(source, fact), f"{row['id']}: {fact} is not in the quote"
            assert not holds(row["question"], fact), f"{row['id']}: {fact} is in the question"


def test_answerable_rows_have_facts_and_the_others_only_refuse():
    for row in QUESTIONS:
        if row["answerable"]:
            assert row["facts"], row["id"]
        else:
            assert (row["facts"], row["quote"], row["answer"]) == ([], "", REFUSAL), row["id"]
    for row in CORRECTIONS:
        if row["should_abstain"]:
            assert (row["facts"], row["evidence"], row["corrected"]) == ([], [], REFUSAL), row["id"]
        else:
            assert row["facts"] and row["evidence"], row["id"]


def test_questions_and_corrections_come_from_different_sections():
    assert not {row["cluster"] for row in QUESTIONS} & {row["cluster"] for row in CORRECTIONS}


def test_no_two_questions_are_nearly_the_same():
    known = [(row["id"], row["question"].casefold().strip(), five_grams(row["question"])) for row in ROWS]
    alike = []
    for (one, text, grams), (other, other_text, other_grams) in itertools.combinations(known, 2):
        fewer = min(len(grams), len(other_grams))
        if text == other_text or (fewer and 2 * len(grams & other_grams) > fewer):
            alike.append((one, other))
    assert not alike
