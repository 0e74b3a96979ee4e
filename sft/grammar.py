"""A grammar of invented devices: pages of a manual, and questions as customers ask them, answered in the manual's own words.

Every name, code and value is drawn at random, so an answer can only be read, never known. One `{slot}` keeps its filling within
a fact: the statement and its questions speak of the same part and the same value. The words and patterns are in grammar.toml.
"""

from __future__ import annotations

import random
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_GRAMMAR = tomllib.loads(Path(__file__).with_name("grammar.toml").read_text(encoding="utf-8"))
WORDS: dict[str, list[str]] = _GRAMMAR["words"]


@dataclass(frozen=True)
class Passage:
    """A chunk of a manual. A paragraph is a list of sentences; a step, bullet, warning or table row is a paragraph of one."""

    header: str
    paragraphs: tuple[tuple[str, ...], ...]

    def text(self, gap: str = "\n") -> str:
        return gap.join(" ".join(sentences) for sentences in self.paragraphs)


@dataclass(frozen=True)
class Ask:
    """A question whose answer is `units`, verbatim units of passage `passage` in reading order."""

    question: str
    passage: int
    units: tuple[str, ...]


@dataclass(frozen=True)
class Manual:
    passages: tuple[Passage, ...]
    asks: tuple[Ask, ...]


class Slots(dict[str, str]):
    """Fillings of one fact: a slot is drawn when it is first met, and kept."""

    def __init__(self, rng: random.Random, **fixed: str) -> None:
        super().__init__(**fixed)
        self.rng = rng

    def __missing__(self, slot: str) -> str:
        self[slot] = value = draw(self.rng, slot)
        return value


def draw(rng: random.Random, slot: str) -> str:
    """A random filling; `part2` draws like `part`."""
    name = slot.rstrip("23")
    if name in _MADE:
        return _MADE[name](rng)
    template = rng.choice(WORDS[name])
    return template.format_map(Slots(rng)) if "{" in template else template


def invented(rng: random.Random) -> str:
    """A pronounceable word that no dictionary has, most of the time."""
    syllables = rng.choice((2, 2, 2, 3))
    word = "".join(rng.choice("bdfghklmnprstvwz") + rng.choice("aeiou") for _ in range(syllables))
    return (word + rng.choice(("", "n", "r", "x", "l", "nt", "sk", "s"))).capitalize()


def _part(rng: random.Random) -> str:
    first = invented(rng) if rng.random() < 0.1 else rng.choice(WORDS["modifier"])
    words = [first, rng.choice(WORDS["noun"])]
    if rng.random() < 0.12:
        words.insert(0, rng.choice(WORDS["side"]))
    return " ".join(words) if rng.random() < 0.8 else words[-1]


def _code(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFHKLMPRSTUX") for _ in range(rng.choice((1, 1, 2, 2, 3))))
    return (
        letters + rng.choice(("", "", "-", " ")) + str(rng.randint(0, 10 ** rng.choice((1, 2, 2, 3)))).zfill(rng.choice((1, 2)))
    )


def _number(rng: random.Random) -> str:
    if rng.random() < 0.2:
        return f"{rng.randint(0, 40)}.{rng.randint(1, 9)}"
    value = rng.randint(2, rng.choice((9, 30, 99, 500, 2400)))
    return f"{value - value % 5 if value > 100 else value}"


def _model_code(rng: random.Random) -> str:
    return _code(rng).replace(" ", "") + rng.choice(("", "", "S", "Pro", " Plus"))


_MADE: dict[str, Callable[[random.Random], str]] = {
    "part": _part,
    "code": _code,
    "n": _number,
    "small": lambda rng: str(rng.randint(2, 12)),
    "name": invented,
    "model": _model_code,
    "order": lambda rng: f"{rng.choice('ABCEFKLNPRSTVX')}{rng.randint(10, 99)}-{rng.randint(100, 9999)}",
    "phone": lambda rng: f"0{rng.randint(100, 999)} {rng.randint(100, 999)} {rng.randint(100, 999)}",
}


def make_manual(rng: random.Random, passages: int = 8, sentences: tuple[int, int] = (2, 9)) -> Manual:
    """An invented product's manual of `passages` chunks of `sentences` (fewest, most) units each, with its questions."""
    slots = Slots(rng)
    title = rng.choice(("{name} {model} {device}", "{name} {model}", "{device} {model}", "{name} {device} {model} User Manual"))
    title = " ".join(w[:1].upper() + w[1:] for w in title.format_map(slots).split())
    pages: list[Passage] = []
    facts: list[tuple[int, list[str], tuple[str, ...]]] = []
    for index in range(passages):
        size = rng.randint(*sentences)
        paragraphs, told, heading = _section(rng, slots, size)
        pages.append(Passage(f"{title} > {heading}", tuple(paragraphs)))
        facts += [(index, *fact) for fact in told]
    answers = Counter(key for _, questions, _ in facts for key in {_plain(question) for question in questions})
    asks = []
    for index, questions, units in facts:
        question = rng.choice(questions)
        if answers[_plain(question)] == 1:  # else two places of the manual answer it, and none is the right one
            asks.append(Ask(question, index, units))
    return Manual(tuple(pages), tuple(asks))


def _plain(question: str) -> str:
    return question.lower().rstrip("?")


Fact = tuple[list[str], tuple[str, ...]]  # every way to ask for it, the units that answer
Body = tuple[list[tuple[str, ...]], list[Fact], str]


def _section(rng: random.Random, product: Slots, size: int) -> Body:
    maker = rng.choices((_prose, _table, _procedure), (5, 2, 2))[0]
    paragraphs, facts, heading = maker(rng, product, size)
    chapter = draw(rng, "chapter")
    return paragraphs, facts, f"{chapter} > {heading}" if rng.random() < 0.7 else heading


def _prose(rng: random.Random, product: Slots, size: int) -> Body:
    """Statements in paragraphs, bullets and warnings; half of the sections stay with one part, which makes them hard."""
    theme = {"part": draw(rng, "part")} if rng.random() < 0.5 else {}
    paragraphs: list[list[str]] = [[]]
    facts: list[Fact] = []
    for _ in range(size):
        slots = Slots(rng, device=product["device"], name=product["name"], **(theme if rng.random() < 0.7 else {}))
        if rng.random() < 0.2:
            unit = sentence_case(rng.choice(_GRAMMAR["filler"]).format_map(slots))
        else:
            fact = rng.choice(_GRAMMAR["facts"])
            unit = sentence_case(rng.choice(fact["statements"]).format_map(slots))
            facts.append((_questions(fact, slots), (unit,)))
        if unit.startswith("WARNING") or rng.random() < 0.15:
            paragraphs += [[unit], []]
        elif rng.random() < 0.12:
            paragraphs += [["- " + unit], []]
            facts = [(asked, tuple("- " + u if u == unit else u for u in units)) for asked, units in facts]
        else:
            paragraphs[-1].append(unit)
        if rng.random() < 0.2:
            paragraphs.append([])
    heading = theme["part"] if theme and rng.random() < 0.6 else rng.choice(_GRAMMAR["sections"]).format_map(Slots(rng, **theme))
    return [tuple(p) for p in paragraphs if p], facts, sentence_case(heading)


def _questions(fact: dict[str, list[str]], slots: Slots) -> list[str]:
    return [question.format_map(slots) for question in fact["questions"]]


def _table(rng: random.Random, product: Slots, size: int) -> Body:
    table = rng.choice(_GRAMMAR["tables"])
    lines: list[tuple[str, ...]] = [(table["head"],)] if rng.random() < 0.8 else []
    facts: list[Fact] = []
    seen = set()
    for _ in range(max(size, 3)):
        slots = Slots(rng, device=product["device"])
        row = rng.choice(table["rows"]).format_map(slots)
        row = " | ".join(sentence_case(cell) for cell in row.split(" | "))
        if row.split(" | ")[0] in seen:
            continue
        seen.add(row.split(" | ")[0])
        lines.append((row,))
        facts.append((_questions(table, slots), (row,)))
    if rng.random() < 0.3:
        lines.insert(0, (sentence_case(rng.choice(_GRAMMAR["filler"]).format_map(Slots(rng))),))
    return lines, facts, table["heading"]


def _procedure(rng: random.Random, product: Slots, size: int) -> Body:
    procedure = rng.choice(_GRAMMAR["procedures"])
    slots = Slots(rng, device=product["device"])
    lines: list[tuple[str, ...]] = []
    if rng.random() < 0.4:
        lines.append((sentence_case(rng.choice(_GRAMMAR["filler"]).format_map(slots)),))
    steps = []
    for n in range(1, min(max(size, 2), 6) + 1):
        own = Slots(rng, part=slots["part"] if rng.random() < 0.4 else draw(rng, "part"))
        choice = _GRAMMAR["steps"] if n > 1 else [*_GRAMMAR["steps"], *procedure["first_steps"]]
        steps.append(f"{n}. " + sentence_case(rng.choice(choice).format_map(own)))
    lines += [(step,) for step in steps]
    facts: list[Fact] = [(_questions(procedure, slots), tuple(steps[:4]))]
    if rng.random() < 0.4:
        own = Slots(rng, part=slots["part"])
        fact = rng.choice(_GRAMMAR["facts"])
        note = sentence_case(rng.choice(fact["statements"]).format_map(own))
        lines.append((note,))
        facts.append((_questions(fact, own), (note,)))
    return lines, facts, sentence_case(procedure["heading"].format_map(slots))


def sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


SYNONYMS = {group[0]: tuple(group) for group in (line.split("/") for line in WORDS["synonyms"])}
FRAMES = (
    "{q}", "{q}", "{q}", "{q}", "{q}", "{q}?", "Hi, {q}?", "hello {q}", "{q} please", "Please tell me: {q}",
    "Question: {q}", "{q} thanks", "I want to know {q}", "Can you tell me {q}", "{q}, can't find it", "quick one: {q}",
    "so {q}", "My {device} is new. {q}",
)  # fmt: skip


def as_customer(rng: random.Random, question: str) -> str:
    """The question in a customer's everyday words: synonyms, frames, lost capitals and question marks, a typing error."""
    words = question.split(" ")
    for n, word in enumerate(words):
        bare = word.rstrip("?.,")
        if bare.lower() in SYNONYMS and rng.random() < 0.35:
            words[n] = rng.choice(SYNONYMS[bare.lower()]) + word[len(bare) :]
        elif len(bare) > 4 and bare.isalpha() and rng.random() < 0.02:
            at = rng.randrange(1, len(bare) - 1)
            words[n] = bare[:at] + bare[at + 1] + bare[at] + bare[at + 2 :] + word[len(bare) :]
    text = " ".join(words)
    if rng.random() < 0.35:
        text = text.rstrip("?")
    if rng.random() < 0.25:
        text = rng.choice(FRAMES).format(q=text.rstrip("?"), device=rng.choice(WORDS["device"]))
    return text.lower() if rng.random() < 0.3 else sentence_case(text) if rng.random() < 0.7 else text
