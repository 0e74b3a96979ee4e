"""The last part of the small model's training: rows as they are served, learned by the choices that serving leaves open.

Served verbatim, the model only says which unit comes first, whether another follows, and whether to refuse. So the loss is that
of these choices (sft.choice_loss); the rest of the answer, which decoding gives for free, counts little. Half of the rows are cut
to windows of a few units as serving cuts them (rag.focus), where near misses are refused.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from emendo.records import Chunk, Hit
from emendo.units import Unit, score_units, split_units
from rag.evidence import Evidence
from rag.focus import cut_to_evidence
from rag.prompt import REFUSAL
from sft.choice_loss import NONE, allowed_ids, choice_loss, choices_of
from sft.grammar import Manual
from sft.pretrain_rows import QARow, Stage, Tokens, encode_row, group_rows, qa_row

WHOLE = Stage(1.0, 0.0, (3, 4), (3, 9), 1000)  # passages uncut
CUT = 0.5  # share of rows cut to windows
ANSWER_TOKENS, REFUSAL_TOKENS = 0.3, 0.6  # loss weights over the whole vocabulary beside the choices


def served_row(rng: random.Random, pages: Sequence[Manual]) -> QARow | None:
    """A row whose answer is units as decoding prints them; None where its passages hold it, but not as a unit."""
    row = _printed(qa_row(rng, WHOLE, pages, swap=rng.random() < 0.3, page_share=0.25))
    return _cut(rng, row) if row and rng.random() < CUT else row


def _printed(row: QARow) -> QARow | None:
    """Units as the passages are split: with their bullet, and rows under a header."""
    if not row.cited:
        return row
    printed = [unit.text for unit in split_units(row.passages[row.cited - 1][1], row.cited)]
    units = [next((text for text in printed if unit in text), "") for unit in row.units]
    return _answered(row, row.passages, row.cited, tuple(dict.fromkeys(units))) if all(units) else None


def _answered(row: QARow, passages: tuple[tuple[str, str], ...], cited: int, units: tuple[str, ...]) -> QARow:
    answer = " ".join(f"{unit} [{cited}]" for unit in units) if cited else REFUSAL
    return replace(row, passages=passages, answer=answer, cited=cited, units=units if cited else ())


def _cut(rng: random.Random, row: QARow) -> QARow:
    """Windows from the unit on that shares most words with the question; a lost answer is a near miss, to be refused."""
    chunks = [Chunk("", "", "", "", (), text, header) for header, text in row.passages]
    hits = [Hit(chunk, 0.0, n, {}) for n, chunk in enumerate(chunks, 1)]
    units = [unit for n, chunk in enumerate(chunks) for unit in split_units(chunk.text, n)]
    scores = score_units(row.question, units, [chunk.text for chunk in chunks])
    evidence = [Evidence(unit, _nudged(rng, row, unit, score), ()) for unit, score in zip(units, scores, strict=True)]
    cut, _ = cut_to_evidence(evidence, hits, rng.choice((2, 2, 3, 4)), 3)
    passages = tuple((hit.chunk.header, hit.chunk.text) for hit in cut)
    target = row.passages[row.cited - 1][0] if row.cited else ""
    for n, (header, text) in enumerate(passages, 1):
        printed = [unit.text for unit in split_units(text, n)]
        if row.cited and header == target and (kept := tuple(unit for unit in row.units if unit in printed)):
            return _answered(row, passages, n, kept)
    return _answered(row, passages, 0, ())


def _nudged(rng: random.Random, row: QARow, unit: Unit, score: float) -> float:
    """The search finds more than shared words: four of five answers stand at the beginning of a window or near it."""
    own = unit.passage == row.cited - 1 and unit.text == row.units[0] if row.cited else False
    return score + rng.random() * 0.3 + (0.6 if own and rng.random() < 0.8 else 0.0)


def encode_served(row: QARow, tokenizer: Any, rng: random.Random) -> Tokens | None:
    """Token ids, and for each of the answer the ids that are allowed there (sft.choice_loss); None for other answers."""
    tokens = encode_row(row, tokenizer, rng)
    found = choices_of(tokenizer, [text for _, text in row.passages], row.answer, tokenizer.eos_token_id)
    length = sum(weight > 0 for weight in tokens.weights)
    prompt = tokens.ids[: len(tokens.ids) - length]
    if not row.cited:
        return replace(tokens, weights=[0.0] * len(prompt) + [REFUSAL_TOKENS] * length, allowed=[[]] * length)
    if found is None:
        return None
    ids, allowed = found
    return replace(tokens, ids=prompt + ids, weights=[0.0] * len(prompt) + [ANSWER_TOKENS] * len(ids), allowed=allowed)


def served_batches(
    rng: random.Random, tokenizer: Any, pages: Sequence[Manual], batch_tokens: int, pool: int = 10
) -> Iterator[list[Tokens]]:
    """Endless batches of at most `batch_tokens` tokens, rows of like length together."""
    while True:
        rows: list[Tokens] = []
        while sum(len(row.ids) for row in rows) < pool * batch_tokens:
            row = served_row(rng, pages)
            tokens = encode_served(row, tokenizer, rng) if row else None
            if tokens and len(tokens.ids) <= WHOLE.tokens:
                rows.append(tokens)
        yield from group_rows(rng, rows, batch_tokens)


def served_loss(losses: Any, logits: Any, labels: Any, weights: Any, batch: Sequence[Tokens]) -> Any:
    """Mean over rows, in nats: their choices, and beside them the `weights` of `losses` over the whole vocabulary.

    `losses`, `labels`, `weights` (tokens,) and `logits` (tokens, vocabulary) of all answers, row by row.
    """
    allowed = allowed_ids([ids for row in batch for ids in row.allowed]).to(logits.device)
    chosen = choice_loss(logits, labels, allowed) * (allowed != NONE).any(1)
    return (chosen.sum() + (losses * weights).sum()) / len(batch)
