"""Which product a question is about: the one that was chosen, the one it names, or any."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
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
_LED_TO_NAME = re.compile(r"(?:\s+(?:on|of|for|with|in|to|from))?(?:\s+(?:the|my|a|our))?$", re.IGNORECASE)
_DETERMINERS = frozenset("the my our your this that a an".split())
_LEAST_CHUNKS = 12  # what holds fewer is a page ("Settings"), and its name a word of many questions


@dataclass(frozen=True)
class Scope:
    """Where to search; None is everywhere."""

    doc_ids: frozenset[str] | None = None


def chosen_scope(product: str, documents: Sequence[Document]) -> Scope:
    """The documents of a product, given by its name, a title, a doc_id or the folder it was indexed from, in any case; by words
    that its name holds where it is none of these. UserError naming the known products.
    """
    wanted = product.strip().casefold()
    words = set(_words(product))
    found = [d.doc_id for d in documents if wanted in {d.product.casefold(), d.title.casefold(), d.doc_id.casefold()}]
    found = found or [d.doc_id for d in documents if d.source.casefold().startswith(f"{wanted}/")]
    found = found or [d.doc_id for d in documents if words and words <= set(_words(f"{d.product} {d.title}"))]
    if not found:
        known = sorted({d.product for d in documents})
        near = get_close_matches(product, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"no product {product!r} in the index; {hint}known: {', '.join(known)}")
    return Scope(frozenset(found))


class ProductNames:
    """The products of an index, to be recognised in questions. `sizes` gives the chunks of each document, by doc_id."""

    def __init__(self, documents: Sequence[Document], sizes: Mapping[str, int] | None = None):
        self._documents = documents
        shared = Counter(document.product for document in documents)
        # the title of one document among others of its product is that of a part or a page
        self._names = {d.doc_id: _names(d.product if shared[d.product] > 1 else f"{d.product} / {d.title}") for d in documents}
        chunks: Counter[str] = Counter()
        products: dict[str, set[str]] = {}
        for document in documents:
            products.setdefault(document.product, set()).update(*self._names[document.doc_id])
            chunks[document.product] += _LEAST_CHUNKS if sizes is None else sizes.get(document.doc_id, 0)
        self._pages = {product for product in products if chunks[product] < _LEAST_CHUNKS}
        self._count = len(products)
        self._spread = Counter(word for words in products.values() for word in words)  # word -> products whose name has it

    def named_scope(self, question: str) -> Scope:
        """The documents of the product that the question names, everything when it names none.

        A product is named by a word with a digit that not all share (S10, TSDZ2), or by all words of one of its names where
        most products do not share one of them and it is more than a page. The rarest word decides, then how much of the name
        was said: "S10" is the S10, not the S10 Lite.
        """
        if self._count < 2:
            return Scope()
        asked = set(_words(question))
        scores = {d.doc_id: self._score(asked, self._names[d.doc_id], d.product in self._pages) for d in self._documents}
        best = max(scores.values(), default=(0.0, 0.0))
        if best[0] <= 0:
            return Scope()
        return Scope(frozenset(doc_id for doc_id, score in scores.items() if score == best))

    def named_product(self, question: str) -> str:
        """The one product that the question names; "" when it names none or several."""
        named = self.named_scope(question).doc_ids or ()
        products = {document.product for document in self._documents if document.doc_id in named}
        return products.pop() if len(products) == 1 else ""

    def product_of_kind(self, question: str) -> str:
        """The one product whose kind the question says; "" when it says none, or that of several.

        Said is the last word of a name, or another after an article: "empty vacuum" and "the robot" mean the R7 robot vacuum.
        """
        if self._count < 2:
            return ""
        words = _words(question)
        articled = {word for before, word in pairwise(_WORD.findall(question.casefold())) if before in _DETERMINERS}
        said: set[str] = set()
        for document in self._documents:
            names = self._names[document.doc_id] if document.product not in self._pages else []
            if any(word in words and (word == name[-1] or word in articled) for name in names for word in name):
                said.add(document.product)
        return said.pop() if len(said) == 1 else ""

    def without_name(self, question: str, scope: Scope) -> str:
        """The question without the name of the product it is searched in, which tells no passage of its manuals from another.

        A run of words of the name goes where it holds one with a digit or is a whole name: "does the E20 make espresso?" keeps
        the espresso. The question itself where fewer than three words would be left.
        """
        names = [name for doc_id in scope.doc_ids or () for name in self._names.get(doc_id, ())]
        words = {word for name in names for word in name}
        kept, run = list[str](), list[str]()
        for part in [*question.split(), ""]:
            word = _bare(part)
            if word and word in words:
                run.append(part)
                continue
            said = [_bare(one) for one in run]
            if not (said in names or any(c.isdigit() for one in said for c in one)):
                kept += run
            kept, run = [*kept, part], []
        rest = _LED_TO_NAME.sub("", " ".join(kept).strip())
        return rest if len(rest.split()) >= 3 else question

    def _score(self, asked: set[str], variants: Sequence[Sequence[str]], page: bool) -> tuple[float, float]:
        """(rareness of the naming words, share of the name that was said) of the best variant; (0, 0) when it is not named."""
        best = (0.0, 0.0)
        for variant in variants:
            said = [word for word in variant if word in asked]
            telling = [w for w in said if any(c.isdigit() for c in w) and self._spread[w] < self._count]
            whole = said == list(variant) and any(2 * self._spread[w] <= self._count for w in said)
            if telling or (whole and not page):
                rareness = max(1 / self._spread[w] for w in said)
                best = max(best, (rareness, len(said) / len(variant)))
        return best


def _bare(part: str) -> str:
    return part.casefold().strip("?!.,;:\"'()")


def _names(text: str) -> list[list[str]]:
    """ "Galaxy S10e / S10 / S10+ (AT&T)" is known by each of its parts; "Dire Wolf" also as "direwolf"."""
    parts = [words for part in _ALTERNATIVES.split(text) if (words := _words(part))]
    joined = [["".join(words)] for words in parts if len(words) == 2 and "".join(words).isalpha()]
    return [*parts, *joined]


def _words(text: str) -> list[str]:
    """Words that can name a product; a bare number only together with the word before it: "Note 9" gives note, note9."""
    words = [word for word in _WORD.findall(text.casefold()) if word not in _GENERIC]
    return [before + word if word.isdigit() else word for before, word in pairwise(["", *words]) if before or not word.isdigit()]
