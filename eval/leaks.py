"""Does the training data give the test away? Any leak makes an evaluation invalid.

Four ways are looked for, between training and test questions and between training and gold answers: the same words, nearly the
same characters, the same meaning (embeddings), the same passage or section. Texts that differ in a number or a code ("What is
E04?" and "What is E07?") are different however alike they look. A refusal is everyone's answer and never a leak.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from emendo.records import Question
from emendo.words import content_words
from eval.facts import normalise
from eval.ranking import trigrams
from rag.citations import CITATION
from rag.prompt import is_refusal

Encode = Callable[[list[str]], Any]  # texts -> (n, dimension) array of unit vectors


@dataclass(frozen=True)
class LeakSettings:
    """[leaks] in emendo.toml."""

    jaccard: float = 0.7  # of character 5-grams; the exact value that MinHash estimates
    cosine: float = 0.92  # of sentence embeddings
    quote_share: float = 0.8  # of the gold quote's word trigrams found in one training answer
    least_words: int = 4  # answers with fewer content words ("Yes.", "12 V") are the same by chance


class TrainingText(NamedTuple):
    """What the model was trained on. `cluster` is the manual/section that it comes from, "" if unknown."""

    question: str
    answer: str
    cluster: str = ""


@dataclass(frozen=True)
class Leak:
    kind: str  # "same question", "near-duplicate answer", ...
    question_id: str
    test_text: str
    training_text: str
    similarity: float


@dataclass(frozen=True)
class LeakCheck:
    leaks: tuple[Leak, ...]
    questions: int
    training: int
    embedded: bool  # whether meanings were compared too

    @property
    def clean(self) -> bool:
        return not self.leaks

    @property
    def summary(self) -> str:
        """One line for the report."""
        extent = f"{self.training} training texts against {self.questions} questions"
        how = "words, characters, meaning, passage" if self.embedded else "words, characters, passage; meaning not compared"
        if self.clean:
            return f"no leak in {extent} ({how})"
        first = self.leaks[0]
        return f"{len(self.leaks)} leaks in {extent}: {first.kind} at {first.question_id} ({first.training_text[:80]!r})"


def find_leaks(
    questions: Sequence[Question],
    training: Sequence[TrainingText | tuple[str, str, str]],
    encode: Encode | None = None,
    settings: LeakSettings | None = None,
) -> LeakCheck:
    """All leaks of the training texts into the test questions, at most one per question and kind."""
    settings = settings or LeakSettings()
    texts = [TrainingText(*text) for text in training]
    asked = [(question.id, question.question) for question in questions]
    gold = [(question.id, question.answer) for question in questions if _counts(question.answer, settings)]
    learned = [_bare(text.answer) for text in texts if _counts(text.answer, settings)]
    found = [
        *_similar("question", asked, [text.question for text in texts], encode, settings, _same_codes),
        *_similar("answer", gold, learned, encode, settings, _shared_codes),
        *_same_passage(questions, texts, learned, settings),
    ]
    unique = {(leak.kind, leak.question_id): leak for leak in reversed(found)}
    order = {question.id: place for place, question in enumerate(questions)}
    leaks = sorted(unique.values(), key=lambda leak: (order[leak.question_id], leak.kind))
    return LeakCheck(tuple(leaks), len(questions), len(texts), encode is not None)


def _similar(
    what: str,
    tested: Sequence[tuple[str, str]],
    learned: Sequence[str],
    encode: Encode | None,
    settings: LeakSettings,
    comparable: Callable[[str, str], bool],
) -> Iterable[Leak]:
    by_words: dict[str, str] = {_key(text): text for text in learned}
    holders: dict[str, list[int]] = defaultdict(list)  # 5-gram -> training texts, so that only those that share one are compared
    grams = [_grams(text) for text in learned]
    for place, own in enumerate(grams):
        for gram in own:
            holders[gram].append(place)
    for question_id, text in tested:
        if (same := by_words.get(_key(text))) is not None:
            yield Leak(f"same {what}", question_id, text, same, 1.0)
            continue
        own = _grams(text)
        shared = Counter(place for gram in own for place in holders.get(gram, ()))
        for place, common in shared.most_common():
            jaccard = common / (len(own) + len(grams[place]) - common)
            if jaccard >= settings.jaccard and comparable(text, learned[place]):
                yield Leak(f"near-duplicate {what}", question_id, text, learned[place], jaccard)
    if encode is not None and tested and learned:
        yield from _same_meaning(what, tested, learned, encode, settings, comparable)


def _same_meaning(
    what: str,
    tested: Sequence[tuple[str, str]],
    learned: Sequence[str],
    encode: Encode,
    settings: LeakSettings,
    comparable: Callable[[str, str], bool],
) -> Iterable[Leak]:
    cosine = np.asarray(encode([text for _, text in tested])) @ np.asarray(encode(list(learned))).T
    for row, column in np.argwhere(cosine >= settings.cosine):
        question_id, text = tested[row]
        if comparable(text, learned[column]):
            yield Leak(f"paraphrased {what}", question_id, text, learned[column], float(cosine[row, column]))


def _same_passage(
    questions: Sequence[Question], texts: Sequence[TrainingText], learned: Sequence[str], settings: LeakSettings
) -> Iterable[Leak]:
    clusters = {text.cluster: text for text in reversed(texts) if text.cluster}
    held = [(answer, trigrams(answer)) for answer in learned]
    for question in questions:
        if question.cluster in clusters:
            yield Leak("same section", question.id, question.cluster, clusters[question.cluster].question, 1.0)
        quote = trigrams(question.quote)
        if len(content_words(question.quote)) < settings.least_words:
            continue
        for answer, grams in held:
            share = len(quote & grams) / len(quote)
            if share >= settings.quote_share:
                yield Leak("same passage", question.id, question.quote, answer, share)


def _counts(answer: str, settings: LeakSettings) -> bool:
    return not is_refusal(answer) and len(content_words(_bare(answer))) >= settings.least_words


def _bare(text: str) -> str:
    return CITATION.sub("", text)


def _key(text: str) -> str:
    return " ".join(re.findall(r"\w+", normalise(_bare(text))))


def _grams(text: str) -> set[str]:
    key = _key(text)
    return {key[i : i + 5] for i in range(max(1, len(key) - 4))}


def _codes(text: str) -> set[str]:
    return set(re.findall(r"\w*\d[\w.:]*\b", normalise(_bare(text))))


def _same_codes(first: str, second: str) -> bool:
    return _codes(first) == _codes(second)


def _shared_codes(first: str, second: str) -> bool:
    """One answer's numbers are all in the other: it may say more, but nothing else."""
    one, other = _codes(first), _codes(second)
    return one <= other or other <= one if one and other else one == other
