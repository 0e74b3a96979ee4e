"""Two rankings and what the passages say, made one score."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from emendo.records import Chunk
from emendo.words import stem_sequence, stems
from rag.lexical import codes, telling_words

_LABEL_BREAK = re.compile(r"\n| / | > |: |\. ")
_LABEL_WORDS = 6  # a longer line is a sentence
_LONG_ENOUGH = 300  # characters
_START = 12  # characters in which a line begins with a code


@dataclass(frozen=True)
class FusionWeights:
    """Weights of features between 0 and 1 that mean the same in any manual; docs/retrieval.md tells how they were fitted."""

    lexical: float = 0.2  # BM25 as a share of the best candidate's
    dense: float = 1.9  # cosine
    coverage: float = 0.6  # share of the question's words found in header and text
    adjacency: float = 0.9  # share of the question's neighbouring words that are neighbours there, too
    label: float = 0.35  # how well a short line of the text (a menu entry, a run-in heading) is the question's subject
    code: float = 0.6  # share of the question's codes (E02) that head the section, a line or a row
    length: float = 0.3  # share of 300 characters that the passage has: a menu path alone explains nothing
    sentence: float = 1.5  # cosine of the passage's best sentence, step or row; taken of the best passages only
    words: float = 0.3  # mean cosine of the question's words with the likest ones of the passage; of the best passages only


@dataclass(frozen=True)
class Terms:
    """A question as stems: in order, and each with its rareness."""

    order: tuple[str, ...]
    weight: dict[str, float]
    codes: frozenset[str] = frozenset()  # joined forms, see rag.lexical.codes

    @property
    def total(self) -> float:
        return sum(self.weight.values())


def question_terms(question: str, rareness: Callable[[str], float]) -> Terms:
    """`rareness` gives a word's inverse frequency in the index."""
    words = [(stem, word) for word in telling_words(question) for stem in stem_sequence(word)]
    return Terms(tuple(stem for stem, _ in words), {stem: rareness(word) for stem, word in words}, frozenset(codes(question)))


def fused_scores(
    terms: Terms, chunks: Sequence[Chunk], dense: Mapping[str, float], lexical: Mapping[str, float], weights: FusionWeights
) -> dict[str, float]:
    """chunk_id -> score, higher is better. `dense` and `lexical` hold the candidates' cosines and BM25 scores.

    Rank fusion was worse than its lexical side alone: a weak side's first place counts there as much as a strong one's. Chunks
    that say the same in different manuals get the same score: BM25 would favour those of the manual with the shortest title.
    """
    best = max(lexical.values(), default=0.0) or 1.0
    lowest = min(dense.values(), default=0.0)  # a chunk outside the dense list is no nearer than its last
    alike: dict[tuple[object, ...], list[Chunk]] = {}
    for chunk in chunks:
        named = frozenset(stems(chunk.title) & terms.weight.keys())  # a title with the question's words is better than another
        alike.setdefault((named, *sameness(chunk)), []).append(chunk)
    scores: dict[str, float] = {}
    for same in alike.values():
        chunk = same[0]
        score = weights.lexical * max(lexical.get(other.chunk_id, 0.0) for other in same) / best
        score += weights.dense * max(dense.get(other.chunk_id, lowest) for other in same)
        score += _word_features(terms, " ".join(chunk.section), chunk.text, weights)
        score += weights.code * code_match(terms, " ".join(chunk.section[-1:]), chunk.text)
        score += weights.length * min(1.0, len(chunk.text) / _LONG_ENOUGH)
        scores.update((other.chunk_id, score) for other in same)
    return scores


def sameness(chunk: Chunk) -> tuple[str, ...]:
    """Equal for chunks that say the same under the same headings but their manual's title, as those of look-alike manuals do."""
    return (*(heading for heading in chunk.section if heading != chunk.title), chunk.text)


def _word_features(terms: Terms, heading: str, text: str, weights: FusionWeights) -> float:
    """The weighted coverage, adjacency and label match; quick, as most candidates of a search by meaning hold no word asked."""
    seen = f"{heading}\n{text}".lower()
    if not any(stem in seen for stem in terms.weight):  # a stem is the beginning of its word
        return 0.0
    words = stem_sequence(heading), stem_sequence(text)
    present = {*words[0], *words[1]} & terms.weight.keys()
    score = weights.coverage * coverage(terms, present) + weights.label * label_match(terms, text)
    return score + weights.adjacency * adjacency(terms, *words) if len(present) > 1 else score


def coverage(terms: Terms, present: set[str]) -> float:
    """Share, 0..1, of the question's words that are present, each counted by its rareness."""
    return sum(weight for stem, weight in terms.weight.items() if stem in present) / (terms.total or 1.0)


def adjacency(terms: Terms, *texts: Sequence[str]) -> float:
    """Share, 0..1, of the question's word pairs that stand together in a text, in any order and with at most one word between."""
    pairs = [pair for pair in pairwise(terms.order) if pair[0] != pair[1]]
    near: set[tuple[str, str]] = set()
    for text in texts:
        places = [(n, word) for n, word in enumerate(text) if word in terms.weight]
        near.update((a, b) for step in (1, 2) for (m, a), (n, b) in zip(places, places[step:], strict=False) if n - m <= 2)
    weights = [(pair, terms.weight[pair[0]] + terms.weight[pair[1]]) for pair in pairs]
    found = sum(weight for (a, b), weight in weights if (a, b) in near or (b, a) in near)
    return found / (sum(weight for _, weight in weights) or 1.0)


def label_match(terms: Terms, text: str) -> float:
    """Best, 0..1, over the short lines of a text: share of the line that is in the question times share of the question in it."""
    best = 0.0
    for line in _LABEL_BREAK.split(text.lower()):
        if len(line) >= 80 or not any(stem in line for stem in terms.weight):
            continue
        label = stems(line)
        if 0 < len(label) <= _LABEL_WORDS:
            best = max(best, len(label & terms.weight.keys()) / len(label) * coverage(terms, label))
    return best


def code_match(terms: Terms, heading: str, text: str) -> float:
    """Share, 0..1, of the question's codes that the heading names or a line begins with: `E02 - Sensor`, `E02 | ...`."""
    if not terms.codes:
        return 0.0
    starts = [line.split(" | ")[0].lstrip("-•* ")[:_START] for line in text.split("\n")]
    return len(terms.codes.intersection(code for start in (heading, *starts) for code in codes(start))) / len(terms.codes)


def inverse_frequency(found_in: int, total: int) -> float:
    """BM25's weight of a term that `found_in` of `total` passages hold (Robertson and Zaragoza 2009); above 0."""
    return math.log(1 + (total - found_in + 0.5) / (found_in + 0.5))
