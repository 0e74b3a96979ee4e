"""Corrections to training examples: the prompt as served, from the recorded passages, in several orders (RAFT)."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass

from emendo.records import Chunk, Correction, Example, UserError, content_id
from rag.citations import CITATION
from rag.prompt import REFUSAL, build_messages
from sft.augment import MOST, question_variants
from sft.cleaning import Cleaned, clean


@dataclass(frozen=True)
class ExampleSettings:
    """[examples] in emendo.toml."""

    passages: int = 4  # at most; of a correction with more the lowest-ranked ones that are no evidence are left out
    # Passage orders per correction: the first as served, more ones shuffled (RAFT), so that the place tells nothing. A small
    # model lives from the place, a large one should not trust it: try 2 or 3 there.
    orders: int = 1
    augment: int = 0  # more wordings of each training question: mistyped, with a synonym, rephrased; at most 3
    refusal_share: float = 0.12  # of the answered corrections also shown without their evidence, to be refused
    validation_share: float = 0.1  # of the clusters
    thumbs_up: bool = False  # learn the answers that users liked and nobody corrected, as approved answers
    seed: int = 7  # of orders, wordings and split

    def __post_init__(self) -> None:
        if not 0 <= self.augment <= MOST:
            raise ValueError(f"augment = {self.augment}: expected 0 to {MOST}; more wordings of one question teach the wording")


@dataclass(frozen=True)
class ExampleSet:
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    cleaned: Cleaned

    @property
    def hashes(self) -> tuple[str, ...]:
        """One id per training example, in order: the adapter's card names them."""
        return tuple(content_id(*(m["content"] for m in example.messages)) for example in self.train)


def build_examples(corrections: Sequence[Correction], settings: ExampleSettings | None = None) -> ExampleSet:
    """Examples of the approved corrections; UserError when none is left to learn from."""
    settings = settings or ExampleSettings()
    cleaned = clean([c for c in corrections if c.status == "approved"])
    if not cleaned.kept:
        reasons = "; ".join(sorted({reason for _, reason in cleaned.dropped})) or "none is approved"
        raise UserError(f"no usable correction among {len(corrections)} ({reasons}); approve some in the app or import a file")
    held_out = _validation_clusters(cleaned.kept, settings)
    train: list[Example] = []
    validation: list[Example] = []
    for correction in cleaned.kept:
        dice = random.Random(f"{settings.seed}/{correction.correction_id}")
        if correction.cluster in held_out:
            validation.append(_example(correction, _passages(correction, settings), "validation"))
            continue
        for order in _orders(_passages(correction, settings), settings.orders, dice):
            train.append(_example(correction, order, "train"))
        for wording in question_variants(correction.question, settings.augment, str(settings.seed)):
            asked = dataclasses.replace(correction, question=wording)
            train.append(_example(asked, _passages(correction, settings), "train"))
        if not correction.should_abstain and dice.random() < settings.refusal_share:
            rest = [passage for passage in _passages(correction, settings) if passage.chunk_id not in correction.evidence]
            if rest:
                train.append(_example(correction, rest, "train", refuse=True))
    return ExampleSet(tuple(train), tuple(validation), cleaned)


def _validation_clusters(corrections: Sequence[Correction], settings: ExampleSettings) -> set[str]:
    clusters = sorted({correction.cluster for correction in corrections})
    random.Random(settings.seed).shuffle(clusters)
    return set(clusters[: round(settings.validation_share * len(clusters))])


def _orders(passages: list[Chunk], count: int, dice: random.Random) -> list[list[Chunk]]:
    """The order that was served and up to `count` - 1 shuffled ones, each once."""
    found = [passages]
    for _ in range(count - 1):
        order = passages.copy()
        dice.shuffle(order)
        if order not in found:
            found.append(order)
    return found


def _passages(correction: Correction, settings: ExampleSettings) -> list[Chunk]:
    """The recorded passages, the lowest-ranked distractors dropped where there are too many."""
    chunks = [hit.chunk for hit in correction.hits]
    spare = len(chunks) - settings.passages
    for chunk in reversed(chunks.copy()):
        if spare <= 0:
            break
        if chunk.chunk_id not in correction.evidence:
            chunks.remove(chunk)
            spare -= 1
    return chunks


def _example(correction: Correction, passages: Sequence[Chunk], split: str, refuse: bool = False) -> Example:
    answer = REFUSAL if refuse else renumber(correction, passages)
    messages = [*build_messages(correction.question, passages), {"role": "assistant", "content": answer}]
    ids = tuple(passage.chunk_id for passage in passages)
    return Example(tuple(messages), correction.correction_id, correction.cluster, split, ids)  # type: ignore[arg-type]


def without_lowest_passage(example: Example, correction: Correction) -> Example | None:
    """The example without the passage that retrieval ranked lowest, its answer renumbered; None when only evidence is left."""
    ranks = {hit.chunk.chunk_id: hit.rank for hit in correction.hits}
    spare = [passage for passage in example.passages if passage not in correction.evidence]
    if not spare or len(example.passages) == 1:
        return None
    lowest = max(spare, key=lambda passage: ranks[passage])
    chunks = {hit.chunk.chunk_id: hit.chunk for hit in correction.hits}
    rest = [chunks[passage] for passage in example.passages if passage != lowest]
    asked = example.messages[-2]["content"].rpartition("\n\nQuestion: ")[2]  # perhaps another wording of the correction's
    return _example(
        dataclasses.replace(correction, question=asked), rest, example.split, refuse=example.messages[-1]["content"] == REFUSAL
    )


def renumber(correction: Correction, passages: Sequence[Chunk]) -> str:
    """The corrected answer with its `[n]`, which count the recorded hits, turned to the numbers in `passages`."""
    place = {passage.chunk_id: n for n, passage in enumerate(passages, 1)}
    old = {n: place.get(hit.chunk.chunk_id) for n, hit in enumerate(correction.hits, 1)}

    def mark(match: object) -> str:
        new = old.get(int(match.group(1)))  # type: ignore[attr-defined]
        return f" [{new}]" if new else ""

    return CITATION.sub(mark, correction.corrected)
