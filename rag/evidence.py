"""Which sentence, step or row of the hits answers a question: a linear score on features that mean the same in any manual.

The weights are those of a conditional logit over the units of one question (McFadden 1974), fitted by
benchmarks/fit_confidence.py on units that hold a gold fact or quote; docs/answers.md tells on what, and what they reach.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from emendo.records import Hit
from emendo.units import Unit, asks_how, is_label, split_units
from emendo.words import stems
from rag.fusion import Terms, coverage
from rag.lexical import codes

_EMBEDDED = 40  # units whose cosine is taken, the best by words first: it is what costs time

_SAME_SUBJECT = 0.7  # share of the question's words in a heading from which on it is about the same

_ASKS_NUMBER = re.compile(
    r"\bhow (?:many|much|long|often|far|deep|wide|high|big|large|heavy|hot|fast|tight|soon|quick\w*|old|thick|close|near|full)"
    r"|\b(?:size|weight|temp\w*|distance|number|limit|max\w*|min\w*|volume|gap|clearance|percent\w*|range|speed|voltage|ports?"
    r"|value|length|longest|shortest|lifetime|default|degrees|watts|phone|password|pin|code)\b"
    r"|\bwhat (?:time|hours)|\bwhich (?:channel|version)",
    re.I,
)
_ASKS_TIME = re.compile(r"\bhow (?:long|often|soon|quick\w*)|\bwhen\b|\bwhat time|\bhours\b|\buntil\b", re.I)
_TIME = re.compile(
    r"\b(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|mins?|ms|[ap]\.?m|once|every|daily|weekly|monthly|after|before"
    r"|until|as soon as)\b",
    re.I,
)
_ASKS_WHETHER = re.compile(r"(?:^|[.!?,] )\s*(?:can|may|is|are|do|does|should|will|would|must|could|did|has|have)\b", re.I)
_SAYS_WHETHER = re.compile(
    r"\b(?:not|never|only|must|cannot|can.?t|no|always|may|don.?t|possible|allowed|support\w*|need)\b", re.I
)
_ASKS_WHY = re.compile(r"\bwhy\b|\bcause|\breason|what'?s wrong|going on", re.I)
_SAYS_WHY = re.compile(r"\b(?:because|so that|due to|caused?|since|therefore|reason|otherwise|if)\b", re.I)
_ROW_KEY = 0.6  # what a code that begins a row or list item counts beside one in the heading
_STEP_NUMBER = re.compile(r"^\s*\d{1,2}[.)]")

WEIGHTS = {
    "cosine": 8.5,  # of question and unit
    "passage_cosine": 3.0,  # of the passage's best unit
    "hit_cosine": 2.7,  # of the whole passage, as the search found it
    "hit_score": 1.5,  # by how much the search put the passage below its best one; 0 or less
    "coverage": 2.3,  # of the question's words by unit and last heading, rare words counting more
    "rare_here": 0.6,  # the same by the unit alone, with words rare among these units counting more
    "nearby": 1.4,  # by the unit and those beside it
    "label": 3.0,  # by what introduces the unit: a line before it, the header of its table
    "procedure": 1.3,  # by all steps of the unit's list
    "procedure_heading": 5.0,  # by the heading over a list of steps, where the question asks how to do just that
    "first": -0.4,  # unit of its passage
    "specific": 0.9,  # it names a number, as most of what is asked for does
    "number": 1.2,  # a number where one is asked for
    "time": 1.1,
    "whether": 0.9,
    "why": 1.4,
    "code": 0.9,  # share of the question's codes that the unit names
    "key": 4.0,  # the same by the last heading, or by the unit's start (a row's first cell), which counts less the more do so
    "other_key": -4.0,  # it starts with another code of the kind that was asked for
    "brief": -1.4,  # under three content words
    "rank": 1.5,  # 1 / rank of the passage
}
FEATURES = tuple(WEIGHTS)


@dataclass(frozen=True)
class Evidence:
    """One unit of the hits, and how well it answers the question."""

    unit: Unit  # its `passage` counts the hits from 0
    score: float  # higher is better
    features: tuple[float, ...]  # the values of FEATURES


def follow_up_evidence(joined: Evidence, own: Evidence) -> Evidence:
    """Of one unit, for a question in a conversation: `joined` with what was said before it, `own` as it was asked.

    Half and half: its own words alone often say too little ("and in winter?").
    """
    features = tuple((a + b) / 2 for a, b in zip(joined.features, own.features, strict=True))
    return Evidence(joined.unit, (joined.score + own.score) / 2, features)


@dataclass(frozen=True)
class _Words:
    """What is looked up for every unit of one passage."""

    units: list[Unit]
    stems: list[set[str]]
    heading: set[str]
    labels: list[int | None]  # place of the line that introduces the unit
    lists: list[range | None]  # the run of steps the unit belongs to


def find_evidence(
    question: str, terms: Terms, hits: Sequence[Hit], cosines: Callable[[str, list[str]], Sequence[float]]
) -> list[Evidence]:
    """The units of the hits in reading order. `cosines` compares the question with texts."""
    passages = [_read(split_units(hit.chunk.text, n), hit) for n, hit in enumerate(hits)]
    units = [unit for passage in passages for unit in passage.units]
    if not units:
        return []
    lexical = _features(question, terms, hits, passages)
    by_words = sorted(range(len(units)), key=lambda i: -_score(lexical[i]))[:_EMBEDDED]
    found = dict(zip(by_words, cosines(question, [units[i].text for i in by_words]), strict=True))
    lowest = min(found.values())
    best: dict[int, float] = {}
    for i, cosine in found.items():
        best[units[i].passage] = max(cosine, best.get(units[i].passage, cosine))
    evidence = []
    for i, unit in enumerate(units):
        features = (found.get(i, lowest), best.get(unit.passage, lowest), *lexical[i][2:])
        evidence.append(Evidence(unit, _score(features), features))
    return evidence


def _score(features: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(WEIGHTS.values(), features, strict=True))


def _read(units: list[Unit], hit: Hit) -> _Words:
    labels: list[int | None] = []
    lists: list[range | None] = []
    label: int | None = None
    start = 0
    for i, unit in enumerate(units):
        introduces = is_label(unit.text) and (not unit.step or unit.text.endswith(":"))
        if not unit.step:
            start = i + 1
            if i and units[i - 1].step and not introduces:
                label = None  # the list it introduced is over
        labels.append(None if introduces else label)
        if introduces:
            label = i
        lists.append(range(start, i + 1) if unit.step else None)
    for i in range(len(units) - 2, -1, -1):  # every step knows its whole list
        following = lists[i + 1]
        if lists[i] is not None and following is not None:
            lists[i] = following
    return _Words(units, [stems(unit.text) for unit in units], stems(" ".join(hit.chunk.section[-1:])), labels, lists)


def _features(question: str, terms: Terms, hits: Sequence[Hit], passages: Sequence[_Words]) -> list[tuple[float, ...]]:
    """FEATURES of every unit with the two cosines of units left 0."""
    seen = Counter(word for passage in passages for words in passage.stems for word in words)
    total = sum(len(passage.units) for passage in passages)
    here = Terms(terms.order, {word: math.log(1 + total / (1 + seen[word])) for word in terms.weight})
    asked = _read_question(question)
    alike = sum(bool(asked.codes & _start_codes(unit.text)) for passage in passages for unit in passage.units if asked.codes)
    top = max((hit.score for hit in hits), default=0.0)
    rows = []
    for n, (hit, passage) in enumerate(zip(hits, passages, strict=False)):
        heading = coverage(terms, passage.heading)
        for i, unit in enumerate(passage.units):
            words, steps, label = passage.stems[i], passage.lists[i], passage.labels[i]
            beside = set().union(*passage.stems[max(i - 1, 0) : i + 2])
            rows.append(
                (
                    0.0,
                    0.0,
                    hit.stages.get("dense_cosine", 0.0),
                    hit.score - top,
                    coverage(terms, words | passage.heading),
                    coverage(here, words),
                    coverage(terms, beside),
                    coverage(terms, stems(unit.header) | (passage.stems[label] if label is not None else set())),
                    coverage(terms, set().union(*(passage.stems[j] for j in steps))) if steps else 0.0,
                    heading if steps and heading >= _SAME_SUBJECT and asked.how else 0.0,
                    float(i == 0),
                    *_kind(asked, unit.text),
                    *code_match(asked.codes, unit.text, " ".join(hit.chunk.section[-1:]), alike),
                    float(len(words) < 3),
                    1 / (n + 1),
                )
            )
    return rows


@dataclass(frozen=True)
class _Asked:
    """What a question asks for: each is looked for in every unit."""

    number: bool
    time: bool
    whether: bool
    why: bool
    how: bool
    codes: frozenset[str]


def _read_question(question: str) -> _Asked:
    return _Asked(
        number=bool(_ASKS_NUMBER.search(question)),
        time=bool(_ASKS_TIME.search(question)),
        whether=bool(_ASKS_WHETHER.search(question)),
        why=bool(_ASKS_WHY.search(question)),
        how=asks_how(question),
        codes=frozenset(codes(question)),
    )


def _kind(asked: _Asked, text: str) -> tuple[float, ...]:
    """specific, number, time, whether, why: the unit has what the question asks for."""
    specific = any(c.isdigit() for c in _STEP_NUMBER.sub("", text))
    time = asked.time and bool(_TIME.search(text))
    whether = asked.whether and bool(_SAYS_WHETHER.search(text))
    why = asked.why and bool(_SAYS_WHY.search(text))
    return float(specific), float(specific and asked.number), float(time), float(whether), float(why)


def code_match(asked: Set[str], text: str, heading: str = "", alike: int = 1) -> tuple[float, float, float]:
    """code, key, other_key: what the codes at the start of a unit and in it have to do with those asked for.

    Under a heading that names the code every unit is of its entry; a row or list item of that code may be of another list, the
    more so the more units begin `alike`, with a code asked for.
    """
    if not asked:
        return 0.0, 0.0, 0.0
    key = _start_codes(text)
    named = asked & set(codes(text))
    other = not named and bool({_letters(code) for code in key} & {_letters(code) for code in asked})
    headed = asked & set(codes(heading))
    row = _ROW_KEY * len(asked & key - headed) / max(alike, 1)
    return len(named) / len(asked), (len(headed) + row) / len(asked), float(other)


def _start_codes(text: str) -> set[str]:
    return set(codes(text.split(" | ")[0] if " | " in text else text.lstrip("-•* ")[:12]))


def _letters(code: str) -> str:
    """What codes of one list share: E02 and E03 both give `e`."""
    return code.rstrip("0123456789")
