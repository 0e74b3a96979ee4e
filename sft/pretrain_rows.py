"""Training rows of the small model: questions over passages, and look-ups of random tokens, as token ids with loss weights."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from emendo.records import Chunk
from rag.prompt import REFUSAL, build_messages
from sft.grammar import Ask, Manual, Passage, as_customer, make_manual
from sft.pretrain_corpus import cloze_ask, swap_words
from sft.pretrain_hints import Labels, labels


@dataclass(frozen=True)
class Stage:
    """One step of the curriculum; it lasts until `until`, a share of the training time."""

    until: float
    lookups: float  # share of rows that are random tokens
    passages: tuple[int, int]
    units: tuple[int, int]  # sentences, rows or steps a passage
    tokens: int  # longest row


STAGES = (
    Stage(0.03, 0.4, (1, 2), (1, 3), 160),
    Stage(0.42, 0.03, (1, 3), (1, 4), 256),
    Stage(0.72, 0.01, (2, 4), (2, 6), 480),
    Stage(0.92, 0.0, (2, 4), (3, 10), 1000),
    Stage(1.01, 0.0, (3, 4), (3, 14), 1200),
)


@dataclass(frozen=True)
class QARow:
    question: str
    passages: tuple[tuple[str, str], ...]  # header, text
    answer: str
    cited: int  # 1-based; 0 for a refusal
    units: tuple[str, ...]

    def messages(self) -> list[dict[str, str]]:
        chunks = [Chunk("", "", "", "", (), text, header) for header, text in self.passages]
        return build_messages(self.question, chunks)


@dataclass(frozen=True)
class Tokens:
    ids: list[int]
    weights: list[float]  # loss weight of predicting each id; 0 is not labelled
    hints: Labels = ([], [], [])  # of the first ids; the rest have none
    allowed: Sequence[list[int]] = ()  # of each labelled id: what it is chosen from (sft.choice_loss)


def stage_at(progress: float) -> Stage:
    return next(stage for stage in STAGES if progress < stage.until)


def qa_row(rng: random.Random, stage: Stage, pages: Sequence[Manual], swap: bool = True, page_share: float = 0.4) -> QARow:
    """A question over an invented manual, or over one of `pages`; one in five cannot be answered from the passages shown.

    `swap` exchanges words at random in half of the rows (see swap_words).
    """
    manual, ask = _page_ask(rng, stage, pages) if pages and rng.random() < page_share else _grammar_ask(rng, stage)
    target = manual.passages[ask.passage]
    others = [p for n, p in enumerate(manual.passages) if n != ask.passage and not _holds(p, ask.units)]
    count = rng.randint(*stage.passages)
    answerable = rng.random() > 0.2 or not others
    others = rng.sample(others, min(len(others), count - answerable if count > 1 or answerable else 1))
    chosen = [*others, target] if answerable else others
    rng.shuffle(chosen)
    gap = rng.choice(("\n", "\n", "\n\n"))
    units = tuple(unit.removeprefix("- ") for unit in ask.units) if answerable else ()
    texts = [ask.question, *units, *(p.header for p in chosen), *(p.text(gap) for p in chosen)]
    if swap and rng.random() < 0.5:
        texts = swap_words(rng, texts, rng.choice((0.1, 0.3, 0.6, 1.0)))
    question, units = texts[0], tuple(texts[1 : 1 + len(units)])
    headers, bodies = texts[1 + len(units) : 1 + len(units) + len(chosen)], texts[-len(chosen) :]
    cited = chosen.index(target) + 1 if answerable else 0
    answer = " ".join(f"{unit} [{cited}]" for unit in units) if answerable else REFUSAL
    return QARow(question, tuple(zip(headers, bodies, strict=True)), answer, cited, units)


def _grammar_ask(rng: random.Random, stage: Stage) -> tuple[Manual, Ask]:
    while True:
        manual = make_manual(rng, stage.passages[1] + 1, stage.units)
        if manual.asks:
            ask = rng.choice(manual.asks)
            return manual, Ask(as_customer(rng, ask.question), ask.passage, ask.units)


def _page_ask(rng: random.Random, stage: Stage, pages: Sequence[Manual]) -> tuple[Manual, Ask]:
    """Neighbouring sections of one page are the hard distractors; one of another page joins them."""
    while True:
        page = rng.choice(pages)
        start = rng.randrange(max(1, len(page.passages) - stage.passages[1]))
        near = [_shorter(rng, p, stage) for p in page.passages[start : start + stage.passages[1] + 1]]
        near.append(_shorter(rng, rng.choice(rng.choice(pages).passages), stage))
        index = rng.randrange(len(near) - 1)
        ask = cloze_ask(rng, tuple(near), index)
        if ask is not None:
            question = as_customer(rng, ask.question) if rng.random() < 0.5 else ask.question
            return Manual(tuple(near), ()), Ask(question, index, ask.units)


def _shorter(rng: random.Random, passage: Passage, stage: Stage) -> Passage:
    """A run of the passage's paragraphs that holds as many units as the stage allows."""
    room = rng.randint(*stage.units)
    start = rng.randrange(len(passage.paragraphs))
    kept: list[tuple[str, ...]] = []
    for paragraph in passage.paragraphs[start:]:
        kept.append(paragraph[:room])
        room -= len(paragraph)
        if room <= 0:
            break
    return Passage(passage.header, tuple(kept))


def _holds(passage: Passage, units: tuple[str, ...]) -> bool:
    return any(unit in paragraph for unit in units for paragraph in passage.paragraphs)


def encode_row(row: QARow, tokenizer: Any, rng: random.Random, language: float = 0.0) -> Tokens:
    """Loss on the answer and its end; the choice of the sentence and of the citation weigh more than its copying.

    `language` is the loss weight of one prompt token in ten, picked at random: plain language modelling at little cost.
    """
    text = tokenizer.apply_chat_template(row.messages(), add_generation_prompt=True, tokenize=False)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    prompt = encoded["input_ids"]
    answer = tokenizer(row.answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    weights = [language if rng.random() < 0.1 else 0.0 for _ in prompt]
    weights += [3.0 if n < 3 else 1.0 for n in range(len(answer))]
    weights[-2] = weights[-1] = 2.0
    return Tokens([*prompt, *answer], weights, labels(text, prompt, encoded["offset_mapping"], row.cited, row.units))


def lookup_row(rng: random.Random, vocabulary: int, length: int) -> Tokens:
    """Random runs, one of them repeated, or its key looked up: what a copying head must do, without any language."""
    runs = [[rng.randrange(5, vocabulary) for _ in range(rng.randint(2, 9))] for _ in range(length // 9)]
    ids = [token for run in runs for token in run]
    weights = [0.0] * len(ids)
    for run in rng.sample(runs, min(4, len(runs))):
        ids += run
        weights += [0.0] + [1.0] * (len(run) - 1)
    return Tokens(ids, weights)


def batches(
    rng: random.Random, progress: Any, tokenizer: Any, pages: Sequence[Manual], batch_tokens: int, pool: int = 10
) -> Iterator[list[Tokens]]:
    """Endless batches of at most `batch_tokens` tokens, rows of like length together.

    `progress()` is the share of the training time that is gone.
    """
    while True:
        gone = progress()
        stage = stage_at(gone)
        rows: list[Tokens] = []
        while sum(len(row.ids) for row in rows) < pool * batch_tokens:
            if rng.random() < stage.lookups:
                rows.append(lookup_row(rng, len(tokenizer), rng.randint(24, 96)))
                continue
            drawn = stage if rng.random() < 0.8 else rng.choice(STAGES[: STAGES.index(stage) + 1])
            row = encode_row(qa_row(rng, drawn, pages), tokenizer, rng, 0.15 if gone < 0.4 else 0.05)
            if len(row.ids) <= stage.tokens:
                rows.append(row)
        yield from group_rows(rng, rows, batch_tokens)


def group_rows(rng: random.Random, rows: list[Tokens], batch_tokens: int) -> list[list[Tokens]]:
    """Rows of like length together, at most `batch_tokens` padded tokens each, in random order."""
    groups: list[list[Tokens]] = [[]]
    for row in sorted(rows, key=lambda row: len(row.ids)):
        if len(row.ids) * (len(groups[-1]) + 1) > batch_tokens:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    return [group for group in groups if group]
