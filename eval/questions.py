"""Held-out questions from a JSONL file, strictly checked: a bad line is named with its file, number and cure."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emendo.files import read_jsonl
from emendo.records import Question, UserError, to_json

CATEGORIES = (
    *("lookup", "steps", "table", "error_code", "safety", "multi", "image_only", "unanswerable"),
    *("normal", "paraphrased", "compound", "yes_no"),
)


def load_questions(path: Path, categories: Sequence[str] = CATEGORIES) -> list[Question]:
    """All questions of the file in order.

    A row holds id, question, answerable and, where answerable, facts and/or answer (or `answers`, the first of which counts);
    optional product, section, pages, quote, category (or `type`), cluster. UserError for a bad line, a duplicate id, no gold, an
    unknown category or an empty file.
    """
    questions: list[Question] = []
    seen: dict[str, str] = {}
    for place, row in read_jsonl(path, "questions"):
        question = _question(place, row, categories)
        if question.id in seen:
            line = seen[question.id].rpartition(":")[2]
            raise UserError(f"{place}: id {question.id!r} is also on line {line}; give each question its own id")
        seen[question.id] = place
        questions.append(question)
    return questions


def questions_sha256(questions: Sequence[Question]) -> str:
    """Of the questions as read, in order: the same set in another spacing has the same hash."""
    return hashlib.sha256("\n".join(map(to_json, questions)).encode()).hexdigest()


def _question(place: str, row: dict[str, Any], categories: Sequence[str]) -> Question:
    for key in ("id", "question"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise UserError(f"{place}: `{key}` is missing or empty; each question needs an id and a text")
    if not isinstance(row.get("answerable"), bool):
        raise UserError(f"{place}: `answerable` must be true or false, got {row.get('answerable')!r}")
    facts = tuple(fact for fact in _texts(place, row, "facts") if fact.strip())
    answer = str(row.get("answer") or next(iter(_texts(place, row, "answers")), ""))
    if row["answerable"] and not (facts or answer.strip()):
        raise UserError(f"{place}: no gold; an answerable question needs `facts` or `answer`, or set answerable to false")
    category = _category(place, row, categories)
    if not row["answerable"] and facts and category != "image_only":  # there the facts stand in a picture that no text holds
        raise UserError(f"{place}: an unanswerable question has `facts`; remove them, or set answerable to true")
    return Question(
        id=row["id"],
        question=row["question"],
        answerable=row["answerable"],
        answer=answer if row["answerable"] else "",
        facts=facts if row["answerable"] else (),
        product=str(row.get("product") or ""),
        section=str(row.get("section") or row.get("gold_section_path") or ""),
        pages=_texts(place, row, "pages") or _texts(place, row, "gold_page"),
        quote=str(row.get("quote") or next(iter(_texts(place, row, "gold_span")), "") or row.get("gold_passage") or ""),
        category=category,
        cluster=str(row.get("cluster") or row.get("group") or ""),
    )


def _category(place: str, row: dict[str, Any], categories: Sequence[str]) -> str:
    named = row.get("category") or row.get("type")
    if named is None:
        return "lookup" if row["answerable"] else "unanswerable"
    if named not in categories:
        near = difflib.get_close_matches(str(named), categories, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(categories)}"
        raise UserError(f"{place}: unknown category {named!r}; {hint}")
    return str(named)


def _texts(place: str, row: dict[str, Any], key: str) -> tuple[str, ...]:
    value = row.get(key)
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in values):
        raise UserError(f"{place}: `{key}` must be text, or a list of texts, got {value!r}")
    return tuple(map(str, values))
