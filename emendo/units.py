"""What is quoted whole: the sentences, steps and table rows of a passage, and how well each meets a question."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from emendo.words import stems

_STEP = re.compile(r"^\s*(?:\d{1,2}[.)]|[-•*])\s+")
_SENTENCE_END = re.compile(
    r"(?:(?<=[a-z0-9)%][.!?])|(?<=°[CF][.!?])|(?<=[.!?][\"”’)]))\s+(?=[\"“‘]?[A-Z0-9])"
    r"|(?<=[A-Z]{2}[.!?])\s+(?=[\"“‘]?[A-Z][a-z])"  # not within a warning in capitals
    r"|(?<=[。！？])"
)
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|approx|vs|cf|incl)\.$", re.I)
_NUMBERED = re.compile(r"\b(?:nos?|figs?|max|min|pp?|sec|vol|ch|ca)\.$", re.I)  # the same where a number follows


_HOW = re.compile(r"\bhow (?:do|to|can|should|could|does one)\b|\bway to\b", re.I)


@dataclass(frozen=True)
class Unit:
    """What is quoted whole: a sentence, a step, a table row."""

    passage: int  # 0-based
    position: int  # order within the passage
    text: str
    step: bool
    header: str = ""  # of the table, for its rows


def split_units(text: str, passage: int) -> list[Unit]:
    """Steps, list items and table rows are kept whole, prose is split into sentences; a table's header is no unit."""
    units: list[Unit] = []
    header = ""
    lines = [line.strip() for line in text.splitlines()]
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if " | " in line and " | " in after and " | " not in before and _is_header(line):
            header = line
            continue
        header = header if " | " in line else ""
        pieces = [line] if _STEP.match(line) or " | " in line else _sentences(line)
        for piece in pieces:
            if re.search(r"\w", piece):
                units.append(Unit(passage, len(units), piece, bool(_STEP.match(line)), header))
    return units


def _is_header(row: str) -> bool:
    """Whether the first row of a table names its columns: a row with a sentence, or a name and its number, is data."""
    cells = row.split(" | ")
    sentence = any(cell.rstrip().endswith(".") and len(cell.split()) > 3 for cell in cells)
    return not sentence and not (len(cells) == 2 and any(c.isdigit() for c in cells[1]))


def _sentences(line: str) -> list[str]:
    found: list[str] = []
    for piece in _SENTENCE_END.split(line):
        if found and _is_unfinished(found[-1], piece):
            found[-1] += " " + piece
        else:
            found.append(piece)
    return found


def _is_unfinished(text: str, following: str) -> bool:
    """Whether the full stop at the end of the text belongs to an abbreviation or a number: `e.g. USB`, `max. 5`, `4. Press`."""
    numbered = _NUMBERED.search(text) and following[:1].isdigit()
    return bool(_ABBREVIATION.search(text) or numbered or re.fullmatch(r"\d{1,2}\.", text))


def is_label(text: str) -> bool:
    """Whether a unit only introduces what follows: `E02 - Torque sensor`, `To pair the remote:`."""
    text = text.rstrip()
    return " | " not in text and (text.endswith(":") or (len(text.split()) <= 10 and text[-1:] not in ".!?;,。！？"))


def runs_on(unit: Unit) -> bool:
    """Whether the unit is prose that another sentence may follow in the same line."""
    return not unit.step and " | " not in unit.text and unit.text.rstrip()[-1] in ".!?。！？"


def asks_how(question: str) -> bool:
    """Whether the question wants to be told what to do."""
    return bool(_HOW.search(question))


def score_units(question: str, units: Sequence[Unit], passages: Sequence[str]) -> list[float]:
    """How well each unit meets the question, higher is better: idf-weighted word overlap.

    Passages come best first; a unit also gains from what its own passage says around it.
    """
    words = [stems(unit.text) for unit in units]
    seen = Counter(word for unit_words in words for word in unit_words)
    wanted = stems(question)
    weight = {word: math.log(1 + len(units) / (1 + seen[word])) for word in wanted}
    total = sum(weight.values()) or 1.0
    around = [sum(weight[w] for w in wanted & stems(text)) / total for text in passages]
    overlaps = [sum(weight[w] for w in wanted & unit_words) / total for unit_words in words]
    return [o + 0.3 * around[unit.passage] - 0.03 * unit.passage for o, unit in zip(overlaps, units, strict=True)]
