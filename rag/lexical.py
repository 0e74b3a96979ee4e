"""The words side of the search: what is put into FTS5 for a chunk, and how a question becomes its query."""

from __future__ import annotations

import re

from emendo.records import Chunk
from emendo.words import STOP_WORDS

TOKENIZE = "porter unicode61 remove_diacritics 2"
COLUMNS = ("title", "header", "body", "codes")
WEIGHTS = (0.5, 3.0, 1.0, 2.0)  # bm25 weight of each column; see docs/retrieval.md for how they were chosen

_WORD = re.compile(r"[^\W_]+")
# "E 04", "E-04", "E.04", "USB 3.0", "IP-68": a short run of letters, one joint, digits
_JOINED_CODE = re.compile(r"\b([A-Za-z]{1,4})[ \-./]?(\d{1,5}[A-Za-z]?)\b")
# "3.2.1", "E104", "S10e": already one word to a reader, several to the tokenizer or worth a second chance
_DOTTED = re.compile(r"\b\d+(?:[.\-/]\d+)+\b")


def codes(text: str) -> list[str]:
    """Joined forms of the codes in `text`, in order and each once: `E 04`, `E-04` and `E04` all give `e04`."""
    found = [letters + digits for letters, digits in _JOINED_CODE.findall(text)]
    found += [re.sub(r"\W", "", number) for number in _DOTTED.findall(text)]
    return list(dict.fromkeys(code.lower() for code in found))


def columns(chunk: Chunk) -> tuple[str, str, str, str]:
    """The values of COLUMNS for one chunk."""
    product = "" if chunk.product == chunk.title else chunk.product
    return (
        f"{chunk.title} {product}".strip(),
        " ".join(chunk.section),
        chunk.text,
        " ".join(codes(f"{chunk.header} {chunk.text}")),
    )


def query_terms(question: str) -> list[str]:
    """Words to search for, each once, stop words left out; all words when nothing else is left."""
    words = [word.lower() for word in _WORD.findall(question)]
    kept = [word for word in words if word not in STOP_WORDS] or words
    return list(dict.fromkeys(kept + codes(question)))


def match_expression(question: str) -> str:
    """An FTS5 query: every term a quoted phrase, OR-ed. "" when the question holds no word at all."""
    return " OR ".join(f'"{term}"' for term in query_terms(question))
