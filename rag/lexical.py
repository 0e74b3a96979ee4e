"""The words side of the search: what is put into FTS5 for a chunk, and how a question becomes its query."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from emendo.records import Chunk
from emendo.words import cjk_parts, content_words

TOKENIZE = "porter unicode61 remove_diacritics 2"
COLUMNS = ("title", "header", "body", "codes")
WEIGHTS = (0.5, 1.0, 1.0, 2.0)  # bm25 weight of each column; docs/retrieval.md tells how they were chosen

# Words people ask with, whatever they ask about: in a manual they match everywhere and mean nothing.
_ASKING = frozenset(
    """about am difference different explain feature features find function functions get getting go happen happens help issue
    know like make many mean means much need option options please possible see should step steps tell thing things through
    use used using want way ways work works""".split()
)
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
        " ".join((*chunk.section, chunk.context)).strip(),
        chunk.text,
        " ".join(codes(f"{chunk.header} {chunk.text}") + cjk_parts(f"{chunk.header} {chunk.text}")),
    )


def telling_words(question: str) -> list[str]:
    """The question's words in order without those that only ask; with them where nothing else is left."""
    words = content_words(question)
    return [word for word in words if word not in _ASKING] or words or [word.lower() for word in _WORD.findall(question)]


def query_terms(question: str) -> list[str]:
    """Terms to search for, each once: the telling words, and the joined forms of codes in place of their single letters."""
    joined = codes(question)
    letters = {code[0] for code in joined if len(code) > 1 and code[1].isdigit()}
    terms = [part for word in telling_words(question) if word not in letters for part in _WORD.findall(word)]
    return list(dict.fromkeys(terms + joined))


def match_expression(terms: Sequence[str]) -> str:
    """An FTS5 query: every term a quoted phrase, OR-ed."""
    return " OR ".join(f'"{term}"' for term in terms)


def search_words(
    database: sqlite3.Connection,
    query: str,
    k: int,
    condition: str = "",
    values: Sequence[str | int] = (),
    common: Sequence[str] = (),
) -> list[tuple[int, float]]:
    """(rowid, BM25) of the k best rows of the FTS5 table `words` for a question, best first; higher is better.

    `condition` is more SQL of the WHERE clause, with its `values`. Rows that hold none of the question's words but `common` ones
    are left out: to score each of them takes nearly all the time, and they are seldom among the best.
    """
    terms = query_terms(query)
    rare = match_expression([term for term in terms if term not in common])
    if not rare:
        return []
    score = f"-bm25(words, {', '.join(map(str, WEIGHTS))})"
    sql = f"SELECT rowid, {score} AS score FROM words WHERE words MATCH ? {condition} ORDER BY score DESC, rowid LIMIT ?"
    best = dict(database.execute(sql, [rare, *values, k]).fetchall())
    if common:  # the rows that hold both, scored by both
        best |= dict(database.execute(sql, [f"({rare}) AND ({match_expression(common)})", *values, k]).fetchall())
    return sorted(best.items(), key=lambda found: (-found[1], found[0]))[:k]


def count_holding(database: sqlite3.Connection, term: str) -> int:
    """Rows of the FTS5 table `words` that hold the term (its stem, in any column)."""
    phrase = '"' + term.replace('"', '""') + '"'
    return int(database.execute("SELECT count(*) FROM words WHERE words MATCH ?", (phrase,)).fetchone()[0])
