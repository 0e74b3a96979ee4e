"""Which product a question is about: the one that was chosen, the one it names, or any."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise

from emendo.records import Document, UserError
from emendo.words import STOP_WORDS

_WORD = re.compile(r"[^\W_]+\+?")
_ALTERNATIVES = re.compile(r"\s*(?:[/|(),;:]|\bor\b|\band\b)\s*")
_GENERIC = STOP_WORDS | set(
    "manual user users guide handbook instructions owner owners quick start reference documentation help".split()
)


@dataclass(frozen=True)
class Scope:
    """Where to search; None is everywhere."""

    doc_ids: frozenset[str] | None = None


def chosen_scope(product: str, documents: Sequence[Document]) -> Scope:
    """The documents of a product, given by its name, a title or a doc_id in any case. UserError naming the known ones."""
    wanted = product.strip().casefold()
    found = [d.doc_id for d in documents if wanted in (d.product.casefold(), d.title.casefold(), d.doc_id.casefold())]
    if not found:
        known = sorted({d.product for d in documents})
        near = get_close_matches(product, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"no product {product!r} in the index; {hint}known: {', '.join(known)}")
    return Scope(frozenset(found))


class ProductNames:
    """The products of an index, to be recognised in questions."""

    def __init__(self, documents: Sequence[Document]):
        self._documents = documents
        self._names = {d.doc_id: [_words(v) for v in _variants(d)] for d in documents}
        products: dict[str, set[str]] = {}
        for document in documents:
            products.setdefault(document.product, set()).update(*self._names[document.doc_id])
        self._count = len(products)
        self._spread = Counter(word for words in products.values() for word in words)  # word -> products whose name has it

    def named_scope(self, question: str) -> Scope:
        """The documents of the product that the question names, everything when it names none.

        A product is named by a word with a digit that not all share (S10, TSDZ2), or by all words of one of its names where
        most products do not share one of them. The rarest word decides, then how much of the name was said: "S10" is the S10,
        not the S10 Lite.
        """
        if self._count < 2:
            return Scope()
        asked = set(_words(question))
        scores = {document.doc_id: self._score(asked, self._names[document.doc_id]) for document in self._documents}
        best = max(scores.values(), default=(0.0, 0.0))
        if best[0] <= 0:
            return Scope()
        return Scope(frozenset(doc_id for doc_id, score in scores.items() if score == best))

    def _score(self, asked: set[str], variants: Sequence[Sequence[str]]) -> tuple[float, float]:
        """(rareness of the naming words, share of the name that was said) of the best variant; (0, 0) when it is not named."""
        best = (0.0, 0.0)
        for variant in variants:
            said = [word for word in variant if word in asked]
            telling = [w for w in said if any(c.isdigit() for c in w) and self._spread[w] < self._count]
            if telling or (said == list(variant) and any(2 * self._spread[w] <= self._count for w in said)):
                rareness = max(1 / self._spread[w] for w in said)
                best = max(best, (rareness, len(said) / len(variant)))
        return best


def _variants(document: Document) -> list[str]:
    """ "Galaxy S10e / S10 / S10+ (AT&T)" is known by each of its parts, and a document by its product and its title."""
    return [part for name in {document.product, document.title} for part in _ALTERNATIVES.split(name) if _words(part)]


def _words(text: str) -> list[str]:
    """Words that can name a product; a bare number only together with the word before it: "Note 9" gives note, note9."""
    words = [word for word in _WORD.findall(text.casefold()) if word not in _GENERIC]
    return [before + word if word.isdigit() else word for before, word in pairwise(["", *words]) if before or not word.isdigit()]
