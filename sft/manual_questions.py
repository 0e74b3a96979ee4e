"""Customers' questions on openly licensed manuals (data/manual_questions), and the passages that answer them.

`manuals.toml` there says which Debian package holds a manual and where; a row is `{"id", "question", "answerable", "quotes":
[{"page", "text"}]}`, its quote word for word, its page one of a PDF or the file below the manual's folder.
"""

from __future__ import annotations

import gzip
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emendo.files import read_jsonl
from emendo.records import Chunk, UserError
from emendo.units import split_units
from rag.embedder import Embedder
from rag.index import Index, open_index
from rag.ingest import ingest
from sft.debian_packages import fetch

QUESTIONS = Path(__file__).resolve().parent.parent / "data" / "manual_questions"
_FILES = 90  # of a manual in many files: those with an answer, then the first by name
_SUFFIXES = {".html", ".htm", ".md", ".pdf"}


@dataclass(frozen=True)
class AskedPassage:
    """A question, the passage that answers it, and which of its sentences, steps or rows does ("" where none holds the quote)."""

    question: str
    chunk: Chunk
    unit: str


@dataclass(frozen=True)
class AskedManual:
    """An indexed manual and the questions that it answers."""

    name: str
    index: Index
    asked: tuple[AskedPassage, ...]


def manuals(split: str, work: Path, questions: Path = QUESTIONS) -> Iterator[tuple[str, Path, list[dict[str, Any]]]]:
    """Name, folder and rows of a split's ("train", "dev") manuals, fetched as needed."""
    described = tomllib.loads((questions / "manuals.toml").read_text(encoding="utf-8"))
    for name, manual in described.items():
        if manual["split"] == split:
            rows = [row for _, row in read_jsonl(questions / f"{name}.jsonl", "questions")]
            yield name, lay_out(name, manual, rows, work), rows


def asked_manuals(split: str, work: Path, embedder: Embedder, questions: Path = QUESTIONS) -> Iterator[AskedManual]:
    """The manuals of a split, one after the other, indexed below `work` as needed."""
    for name, folder, rows in manuals(split, work, questions):
        ingest(work / "indexes" / name, folder, embedder)
        index = open_index(work / "indexes" / name, embedder)
        yield AskedManual(name, index, tuple(_find_passages(rows, index)))


def lay_out(name: str, manual: dict[str, str], rows: Sequence[dict[str, Any]], work: Path) -> Path:
    """The folder with the manual's files, unpacked. UserError when the package has none."""
    folder = work / "manuals" / name
    if folder.is_dir():
        return folder
    source = fetch(manual["package"], work / "packages", manual["version"]) / manual["path"]
    answers = {quote["page"] for row in rows for quote in row.get("quotes", ())}
    files = {source.name: source} if source.is_file() else _readable(source, manual.get("files", "**/*"))
    if not files:
        raise UserError(f"{name}: {source} holds no manual; does manuals.toml name the package's present layout?")
    for relative in sorted(files, key=lambda file: (file.removesuffix(".gz") not in answers, file))[:_FILES]:
        data = files[relative].read_bytes()
        target = folder / relative.removesuffix(".gz")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.decompress(data) if relative.endswith(".gz") else data)
    return folder


def _readable(folder: Path, pattern: str) -> dict[str, Path]:
    """Path below `folder` -> file, of the kinds that manuals come in."""
    found = (path for path in folder.glob(pattern) if Path(path.name.removesuffix(".gz")).suffix in _SUFFIXES)
    return {path.relative_to(folder).as_posix(): path for path in found if path.is_file()}


def _find_passages(rows: Sequence[dict[str, Any]], index: Index) -> Iterator[AskedPassage]:
    """Of the answerable rows, each with its passage; a row whose quote no passage holds is left out."""
    documents = index.documents()
    chunks = [(document.source, chunk) for document in documents for chunk in index.chunks(document.doc_id)]
    texts = [f" {_words(chunk.text)} " for _, chunk in chunks]
    for row in rows:
        if not row["answerable"]:
            continue
        quote = row["quotes"][0]
        wanted = f" {_words(quote['text'])} "
        holding = [chunk for (source, chunk), text in zip(chunks, texts, strict=True) if wanted in text]
        there = [chunk for chunk in holding if quote["page"] in chunk.pages or str(quote["page"]) in chunk.source]
        if there or holding:
            chunk = (there or holding)[0]
            yield AskedPassage(row["question"], chunk, _answering_unit(chunk, wanted.strip()))


def _answering_unit(chunk: Chunk, quote: str) -> str:
    """The unit with most of the quote's word triples, if that is half of them."""
    wanted = _triples(quote)
    best, shared = max(
        ((unit.text, len(_triples(_words(unit.text)) & wanted)) for unit in split_units(chunk.text, 0)),
        key=lambda found: found[1],
        default=("", 0),
    )
    return best if 2 * shared >= len(wanted) else ""


def _triples(words: str) -> set[tuple[str, ...]]:
    split = words.split()
    return {tuple(split[n : n + 3]) for n in range(len(split) - 2)} or {tuple(split)}


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
