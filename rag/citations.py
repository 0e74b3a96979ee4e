"""Citations: split an answer into statements, resolve each `[n]` to its passage, and check that the passage supports it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emendo.measures import UNIT_NAMES
from emendo.records import Citation, Hit
from emendo.words import content_words
from rag.evidence import code_match
from rag.lexical import codes

CITATION = re.compile(r"\s*\[(\d{1,2})\]")
# A statement ends at . ! ? or : followed by space, at a line break, or after its citations; "1." of a step is not an end.
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])((?:\s*\[\d{1,2}\])*)(?:\s+|$)(?=[^a-z]|$)|\n+")
_ABBREVIATION = re.compile(r"(?:^|\s)(?:e\.g|i\.e|approx|no|fig|etc|vs|max|min|incl|\d{1,3})\.$", re.I)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


_MEASURE = re.compile(r"(?<![\d.,])(\d+(?:[.,]\d+)*)(?:\s?-?\s?(°\s?[CF]|%|[a-zA-Zµ]+))?")
_UNIT_NAMES = UNIT_NAMES | {
    "day": "d day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years",
    "°c": "°c c celsius",
    "°f": "°f f fahrenheit",
    "ft": "ft foot feet",
    "khz": "khz",
    "mhz": "mhz",
}
_UNIT = {name: unit for unit, names in _UNIT_NAMES.items() for name in names.split()}


def split_sentences(text: str) -> list[str]:
    """The statements of a text, each with the citation marks that follow it; a step's number stays with its step."""
    parts, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        end = match.end(1) if match.group(1) is not None else match.start()
        if _ABBREVIATION.search(text[start : match.start()]) and match.group(1) == "":
            continue
        parts.append(text[start:end].strip())
        start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def numbers(text: str) -> set[str]:
    """The numbers of a text as written; a step's own number is left out."""
    return set(_NUMBER.findall(re.sub(r"(?m)^\s*\d{1,2}[.)]\s", " ", CITATION.sub(" ", text))))


def supports(passage: str, sentence: str, least_overlap: float = 0.6) -> bool:
    """Whether the passage has every number of the sentence, with no other unit of measure, and at least 60 % of its words."""
    bare = CITATION.sub(" ", sentence)
    if not numbers(bare) <= set(_NUMBER.findall(passage)):
        return False
    held_units = _units_of_numbers(passage)
    for number, units in _units_of_numbers(bare).items():
        held = held_units.get(number, set())
        if "" not in held and held.isdisjoint(units - {""}) and units != {""}:
            return False
    wanted, words = content_words(bare), set(content_words(passage))
    return bool(wanted) and sum(word in words for word in wanted) >= least_overlap * len(wanted)


def answers_another(question: str, statement: str) -> bool:
    """Whether the statement is the entry of another code than the question asks for: E03's row is no answer to E02."""
    return bool(code_match(set(codes(question)), statement)[2])


def _units_of_numbers(text: str) -> dict[str, set[str]]:
    """number -> the units of measure that follow it in the text, "" where none does."""
    found: dict[str, set[str]] = {}
    for number, unit in _MEASURE.findall(text):
        found.setdefault(number.rstrip(".,"), set()).add(_UNIT.get(unit.replace(" ", "").lower(), ""))
    return found


def drop_unknown_marks(text: str, passages: int) -> str:
    """The text without citation marks whose number no passage has."""
    return CITATION.sub(lambda mark: mark.group(0) if 1 <= int(mark.group(1)) <= passages else "", text)


def resolve_citations(text: str, hits: Sequence[Hit], question: str = "") -> tuple[Citation, ...]:
    """One Citation for each `[n]` of each statement, in order; numbers outside 1..len(hits) are left out.

    A statement without a mark of its own belongs to the next mark on its line, as in `First do this. Then that. [2]`.
    An entry of another code than the `question` asks for is not supported.
    """
    found, waiting = [], []
    for sentence in split_sentences(text):
        marks = [int(n) for n in CITATION.findall(sentence)]
        bare = CITATION.sub("", sentence).strip()
        if not marks:
            waiting.append(bare)
            continue
        quote = " ".join([*waiting, bare]).strip()
        waiting = []
        for n in dict.fromkeys(marks):
            if 1 <= n <= len(hits):
                found.append(_citation(n, quote, hits[n - 1], question))
    return tuple(found)


def unsupported(text: str, hits: Sequence[Hit]) -> list[str]:
    """The statements that carry no citation, or none that supports them."""
    good = " ".join(citation.quote for citation in resolve_citations(text, hits) if citation.supported)
    bare = [CITATION.sub("", sentence).strip() for sentence in split_sentences(text)]
    return [sentence for sentence in bare if content_words(sentence) and sentence not in good]


def _citation(n: int, quote: str, hit: Hit, question: str) -> Citation:
    chunk = hit.chunk
    return Citation(
        n=n,
        chunk_id=chunk.chunk_id,
        doc_id=chunk.doc_id,
        title=chunk.title,
        section=chunk.section,
        pages=chunk.pages,
        source=chunk.source,
        quote=quote,
        supported=supports(f"{chunk.header}\n{chunk.text}", quote) and not answers_another(question, quote),
    )
