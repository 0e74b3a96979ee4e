"""Openly licensed documentation as manuals: sections of real pages, and inverse-cloze questions on their sentences.

`fetch` downloads Debian's documentation packages with apt and unpacks them into a temporary folder; the text itself is not kept
in the repository. Inverse cloze: a sentence is the answer, a few of its words are the question (Lee et al. 2019, 1906.00300).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sft.debian_packages import fetch as fetch_package
from sft.grammar import Ask, Manual, Passage


@dataclass(frozen=True)
class Source:
    package: str
    pattern: str  # pages below the unpacked package
    licence: str
    title: str


SOURCES = (
    Source("postgresql-doc-15", "usr/share/doc/postgresql-doc-15/html/*.html", "PostgreSQL Licence", "PostgreSQL 15"),
    Source("python3.11-doc", "usr/share/doc/python3.11/html/[dhiltu]*/*.html", "PSF License Version 2", "Python 3.11"),
    Source("cmake-doc", "usr/share/doc/cmake-data/html/**/*.html", "BSD-3-Clause", "CMake"),
    Source("sqlite3-doc", "usr/share/doc/sqlite3/*.html", "public domain", "SQLite"),
    Source("apache2-doc", "usr/share/doc/apache2-doc/manual/en/**/*.html", "Apache-2.0", "Apache HTTP Server"),
)
_SKIP = (
    "nav", "script", "style", "pre", "table.navigation", "div.sphinxsidebar", "div.related", "div.navheader",
    "div.navfooter", "div.toc", "#footer", "div.header", "a.headerlink", "#quickview", "div.footer",
)  # fmt: skip
_HELD_OUT = 12  # one page of this many is never trained on


def fetch(folder: Path) -> None:
    """Download and unpack the packages that `folder` lacks. Needs apt-get and dpkg, on Debian 12; no root."""
    for source in SOURCES:
        fetch_package(source.package, folder)


def read_manuals(folder: Path, held_out: bool, pages_per_source: int = 450) -> list[Manual]:
    """One manual (without questions) a page, of at least two sections; training and held-out pages are disjoint."""
    manuals = []
    for source in SOURCES:
        files = sorted(p for p in (folder / source.package).glob(source.pattern) if "release" not in p.name)
        chosen = [f for n, f in enumerate(files) if (n % _HELD_OUT == 0) == held_out]
        random.Random(7).shuffle(chosen)
        for file in chosen[:pages_per_source]:
            passages = tuple(_passages(file, source.title))
            if len(passages) >= 2:
                manuals.append(Manual(passages, ()))
    return manuals


def _passages(file: Path, title: str) -> Iterator[Passage]:
    import warnings

    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning

    warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)

    soup = BeautifulSoup(file.read_bytes(), "lxml")
    for selector in _SKIP:
        for node in soup.select(selector):
            node.decompose()
    path: list[str] = [title]
    paragraphs: list[tuple[str, ...]] = []
    for node in soup.find_all(["h1", "h2", "h3", "h4", "p", "li", "dt", "tr"]):
        text = _plain(node.get_text(" "))
        if node.name[0] == "h":
            yield from _cut(path, paragraphs)
            level = min(int(node.name[1]), 3)
            path, paragraphs = [*path[:level], re.sub(r"^[\d.]+\s*|^Chapter \d+\.\s*", "", text)[:60]], []
        elif node.name == "tr":
            cells = [_plain(cell.get_text(" ")) for cell in node.find_all(["td", "th"])]
            if 2 <= len(cells) <= 4 and all(cells) and len(text) < 200:
                paragraphs.append((" | ".join(cells),))
        elif (node.name == "li" and node.find(["p", "li"])) or len(text) < 25:
            continue
        elif node.name == "li":
            paragraphs += [("- " + text,)] if len(text) < 250 else []
        elif node.name == "p" and not node.find_parent("tr"):
            paragraphs.append(tuple(split_sentences(text)))
    yield from _cut(path, paragraphs)


def _plain(text: str) -> str:
    text = re.sub(r"\s+", " ", text.replace("¶", "").translate(_ASCII)).strip()
    return re.sub(r" ([.,;:)\]])", r"\1", re.sub(r"([(\[]) ", r"\1", text))


_ASCII = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\u00a0": " "})


def split_sentences(text: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.!?])\s+(?=[A-Z\"(])", text) if s]


def _cut(path: list[str], paragraphs: list[tuple[str, ...]]) -> Iterator[Passage]:
    """Passages of at most about 200 words of one section."""
    header, words = " > ".join(p for p in path if p), 0
    taken: list[tuple[str, ...]] = []
    for paragraph in paragraphs:
        count = sum(len(sentence.split()) for sentence in paragraph)
        if count > 200:
            continue
        if words + count > 200:
            yield Passage(header, tuple(taken))
            taken, words = [], 0
        taken.append(paragraph)
        words += count
    if words > 12:
        yield Passage(header, tuple(taken))


STOP_WORDS = frozenset(
    """a an the of to in on at by for from with and or not is are was were be been being it its this that these those as if
    then than which who whom whose when where how what why can could may might must shall should will would do does did
    has have had you your we our they their i he she his her but so no nor any all each some such also only other there
    here into about between both more most very use used using one two same see however""".split()
)
_PATTERNS = (
    "{w}", "{w}?", "what about {w}", "How does {w} work?", "What is {w}?", "What does it say about {w}?", "when {w}", "is {w}",
    "Tell me about {w}", "How do I {w}?", "What happens with {w}?", "Why {w}?", "can I {w}?", "Where is {w}?", "Which {w}?",
    "How much {w}?", "does {w}?", "what must I know about {w}", "explain {w} please", "what if {w}?",
)  # fmt: skip


def cloze_ask(rng: random.Random, passages: tuple[Passage, ...], index: int) -> Ask | None:
    """A question on a random sentence, row or bullet of passage `index`, made from its words; None when it has too few words."""
    passage = passages[index]
    units = [unit for paragraph in passage.paragraphs for unit in paragraph]
    at = rng.randrange(len(units))
    unit = units[at]
    if not 4 <= len(unit.split()) <= 45 or sum(u == unit for u in units) > 1:
        return None
    content = [w for w in re.findall(r"[A-Za-z0-9_][\w.-]*\w|\w", unit) if w.lower() not in STOP_WORDS]
    if len(content) < 2:
        return None
    keep = rng.randint(2, min(len(content), 7))
    start = rng.randrange(len(content) - keep + 1)
    words = content[start : start + keep] if rng.random() < 0.5 else rng.sample(content, keep)
    if rng.random() < 0.3:
        rng.shuffle(words)
    asked = rng.choice(_PATTERNS).format(w=" ".join(_inflect(rng, word) for word in words))
    answer: tuple[str, ...] = (unit,)
    if rng.random() < 0.08 and at + 1 < len(units) and len(units[at + 1]) < 200:
        answer = (unit, units[at + 1])
        asked += rng.choice(("", " in detail", " and then?"))
    return Ask(asked, index, answer)


def _inflect(rng: random.Random, word: str) -> str:
    """Another form of the word, now and then: customers do not quote."""
    if rng.random() > 0.2 or len(word) < 4 or not word.isalpha():
        return word.lower() if rng.random() < 0.3 else word
    stem = re.sub(r"(ing|ed|es|s|e|ly)$", "", word)
    return stem + rng.choice(("", "s", "ing", "ed", "e")) if len(stem) > 2 else word


def swap_words(rng: random.Random, texts: list[str], share: float) -> list[str]:
    """Replace the same random `share` of the content words in all texts alike, by other words of the texts or by invented ones.

    What a sentence says can then no longer be guessed, only read.
    """
    from sft.grammar import invented

    words = sorted({w for text in texts for w in re.findall(r"[A-Za-z]{4,}", text) if w.lower() not in STOP_WORDS})
    table = {}
    for word in words:
        if rng.random() < share:
            other = rng.choice(words).lower() if rng.random() < 0.5 else invented(rng).lower()
            table[word] = other.capitalize() if word[0].isupper() else other
    return [re.sub(r"[A-Za-z]{4,}", lambda m: table.get(m[0], m[0]), text) for text in texts]
