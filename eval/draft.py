"""Questions proposed from indexed manuals, for people who have none: from table cells, steps and sentences with figures.

Each has its gold quote; some have no answer on purpose, and some nearly have one (a figure asked of another product). They are
drafts: a person reads them, throws bad ones away and words the rest as customers do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from emendo.records import Chunk, Question, content_id
from emendo.units import split_units
from emendo.words import content_words, stems
from eval.facts import normalise

Write = Callable[[list[str]], list[str]]  # prompts -> replies of a language model
_UNITS = (
    "seconds? minutes? hours? (?:business\\s|working\\s)?days? weeks? months? years? times devices characters people cups "
    "litres? °\\s?[CF] % [kMG]Hz [kMG]?bit/s [kMGT]B m?Ah? [kM]?W V bar kPa psi dB mm cm m km ft in ml l g kg (?:fl\\s?)?oz "
    "lb dBm lux rpm"
)
_UNIT = "(?:" + "|".join(sorted(_UNITS.split(), key=len, reverse=True)) + r")(?![\w°])"
_FIGURE = re.compile(rf"(?<![\w.:/-])\d+(?:[.,]\d+)*(?:\s?[-–]\s?\d+(?:[.,]\d+)*)?(?![\w.:/]*\d)(?:\s?{_UNIT})?(?!\w)")
_STEP = re.compile(r"(?m)^\s*\d{1,2}[.)]\s+")
_NO_VALUE = {"none", "nothing", "yes", "no", "-", "–", "n/a"}
_NEVER_SAID = ("In which colours is the {} sold?", "Who designed the {}?", "How much does the {} cost?")
_MOST_WORDS = 30  # of a sentence that is asked about


@dataclass(frozen=True)
class DraftSettings:
    """How many questions, and the shares of them that have no answer."""

    count: int = 60
    unanswerable: float = 0.15  # asked of what no manual says
    near_miss: float = 0.1  # asked of one product in the words of another
    seed: int = 7


def draft_questions(chunks: Sequence[Chunk], settings: DraftSettings | None = None, write: Write | None = None) -> list[Question]:
    """At most `count` questions in reading order, no two alike, spread over the sections; the unanswerable ones last.

    `write`, a language model, words questions for sentences that no pattern fits; its answers are not used.
    """
    settings = settings or DraftSettings()
    dice = random.Random(settings.seed)
    answerable = _without_twins([q for chunk in chunks for q in _from_chunk(chunk)])
    if write is not None:
        answerable = _without_twins([*answerable, *_written(chunks, write)])
    misses = [q for q in _near_misses(answerable, chunks) if q]
    never = [
        _question(pattern.format(product), None, product=product)
        for product in dict.fromkeys(chunk.product for chunk in chunks)
        for pattern in _NEVER_SAID
    ]
    few, near = (round(settings.count * share) for share in (settings.unanswerable, settings.near_miss))
    dice.shuffle(never)
    dice.shuffle(misses)
    none = [*never[:few], *misses[:near]]
    return [*_spread(answerable, settings.count - len(none), dice), *none]


def _from_chunk(chunk: Chunk) -> Iterator[Question]:
    yield from _from_tables(chunk)
    units = split_units(chunk.text, 0)
    heading = chunk.section[-1] if chunk.section else ""
    steps = [unit.text for unit in units if unit.step and _STEP.match(unit.text)]
    text = "\n".join(steps)
    if len(steps) > 1 and heading and _figures(text):  # without a fact nothing could be scored
        yield _question(f"What are the steps of “{heading}”?", chunk, text, steps[0], _figures(text), "steps")
    for unit in units:
        asked = _about_figure(unit.text) if not unit.step and " | " not in unit.text else ""
        if asked:
            yield _question(asked, chunk, unit.text, unit.text, _figures(unit.text), "lookup")


def _from_tables(chunk: Chunk) -> Iterator[Question]:
    """One question a cell: the header names what is asked, the first cell what it is asked of."""
    header: list[str] = []
    for line in chunk.text.splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        if len(cells) < 2:
            header = []
        elif not header:
            header = cells
        elif len(cells) == len(header):
            for name, value in zip(header[1:], cells[1:], strict=True):
                if not (name and cells[0]) or value.lower() in _NO_VALUE or not 1 <= len(content_words(value)) <= 12:
                    continue
                asked = name if re.match(r"(?i)(what|how|when|where)\b", name) else f"what {_is(name)} the {_lower(name)}"
                yield _question(f"{cells[0]}: {_lower(asked)}?", chunk, value, line.strip(), (value,), "table")


def _about_figure(sentence: str) -> str:
    """The sentence with a gap for its only figure; "" where it has none, or several."""
    figures = list(_FIGURE.finditer(sentence))
    words = sentence.split()
    if len(figures) != 1 or not 5 <= len(words) <= _MOST_WORDS or not sentence.endswith("."):
        return ""
    before, after = sentence[: figures[0].start()].rstrip(), sentence[figures[0].end() :].rstrip(". ")
    if len(content_words(f"{before} {after}")) < 3:
        return ""
    return "What belongs in the gap: “" + " ".join(f"{before} … {after}".split()) + "”?"


def _written(chunks: Sequence[Chunk], write: Write) -> list[Question]:
    """One question a chunk, worded by a language model for its longest sentence with a figure."""
    longest = [max((u.text for u in split_units(c.text, 0) if _figures(u.text)), key=len, default="") for c in chunks]
    chosen = [(chunk, text) for chunk, text in zip(chunks, longest, strict=True) if len(content_words(text)) >= 4]
    prompts = [
        f"Write the question of a customer that this sentence of the manual of {chunk.product} answers. "
        f"Use everyday words, do not give the answer away, write the question only.\n\n{text}"
        for chunk, text in chosen
    ]
    replies = write(prompts) if prompts else []
    return [
        _question(reply.strip().splitlines()[0], chunk, text, text, _figures(text), "lookup")
        for (chunk, text), reply in zip(chosen, replies, strict=True)
        if reply.strip().endswith("?") and stems(reply) != stems(text)
    ]


def _near_misses(questions: Sequence[Question], chunks: Sequence[Chunk]) -> Iterator[Question]:
    """Table questions asked of another product, where no passage of it holds the row's name."""
    said: dict[str, str] = {}
    for chunk in chunks:
        said[chunk.product] = said.get(chunk.product, "") + " " + normalise(f"{chunk.header} {chunk.text}")
    for question in questions:
        name = question.question.partition(":")[0] if question.category == "table" else ""
        for product, text in said.items():
            if name and product != question.product and normalise(name) not in text:
                yield _question(question.question, None, product=product)


def _question(
    text: str,
    chunk: Chunk | None,
    answer: str = "",
    quote: str = "",
    facts: tuple[str, ...] = (),
    category: str = "unanswerable",
    product: str = "",
) -> Question:
    if chunk is None:
        return Question(f"draft-{content_id(text, product, length=8)}", text, False, product=product, category=category)
    section = " > ".join(chunk.section)
    return Question(
        id=f"draft-{content_id(text, chunk.chunk_id, length=8)}",
        question=text,
        answerable=True,
        answer=answer,
        facts=facts,
        product=chunk.product,
        section=section,
        pages=tuple(map(str, chunk.pages)),
        quote=quote,
        category=category,
        cluster=f"{chunk.doc_id}/{section}",
    )


def _without_twins(questions: Sequence[Question]) -> list[Question]:
    """The first of those that ask the same of the same product; a question with two different answers is left out whole."""
    by_words: dict[tuple[str, frozenset[str]], list[Question]] = {}
    for question in questions:
        by_words.setdefault((question.product, frozenset(stems(question.question))), []).append(question)
    return [same[0] for same in by_words.values() if len({normalise(q.answer) for q in same}) == 1]


def _spread(questions: Sequence[Question], count: int, dice: random.Random) -> list[Question]:
    """A draw that takes one question of every section and kind before the second of any; in reading order."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, question in enumerate(questions):
        groups.setdefault((question.cluster, question.category), []).append(place)
    queues = list(groups.values())
    dice.shuffle(queues)
    for queue in queues:
        dice.shuffle(queue)
    longest = max(map(len, queues), default=0)
    order = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    return [questions[place] for place in sorted(order[:count])]


def _figures(text: str) -> tuple[str, ...]:
    """At most three figures with their units, the numbers of steps left out."""
    return tuple(dict.fromkeys(match.group().strip() for match in _FIGURE.finditer(_STEP.sub("", text))))[:3]


def _is(name: str) -> str:
    return "are" if re.search(r"[^su]s$", name) else "is"


def _lower(name: str) -> str:
    return name if name.isupper() else name[0].lower() + name[1:]
