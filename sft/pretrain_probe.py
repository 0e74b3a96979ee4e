"""What the small model can do on manuals that it has never seen: right citation, facts recalled, refusals."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from rag.prompt import is_refusal
from sft.grammar import Manual
from sft.pretrain_rows import QARow, Stage, qa_row

EXAM = Stage(1.0, 0.0, (4, 4), (3, 9), 1200)  # the right passage among four


def exam_rows(count: int, pages: Sequence[Manual], seed: int = 990_001) -> list[QARow]:
    """`count` questions, on pages when there are any, else on invented manuals; `seed` is not used in training."""
    rng = random.Random(seed)
    rows: list[QARow] = []
    while len(rows) < count:
        rows.append(qa_row(rng, EXAM, pages, swap=False, page_share=1.0 if pages else 0.0))
    return rows


def score(model: Any, tokenizer: Any, rows: Sequence[QARow], batch: int = 16) -> dict[str, float]:
    """Shares: citations right and units copied exactly (of the answerable rows), refused (of the others), stopped (of all)."""
    answers = _answers(model, tokenizer, rows, batch)
    asked = [(row, text) for row, (text, _) in zip(rows, answers, strict=True) if row.cited]
    empty = [text for row, (text, _) in zip(rows, answers, strict=True) if not row.cited]
    right = [{int(n) for n in re.findall(r"\[(\d)\]", text)} == {row.cited} for row, text in asked]
    units = [unit in text for row, text in asked for unit in row.units]
    return {
        "citation_right": round(sum(right) / max(1, len(right)), 3),
        "fact_recall": round(sum(units) / max(1, len(units)), 3),
        "refusal_recall": round(sum(map(is_refusal, empty)) / max(1, len(empty)), 3),
        "false_refusals": round(sum(is_refusal(text) for _, text in asked) / max(1, len(asked)), 3),
        "stopped": round(sum(stopped for _, stopped in answers) / max(1, len(answers)), 3),
    }


def _answers(model: Any, tokenizer: Any, rows: Sequence[QARow], batch: int) -> list[tuple[str, bool]]:
    """Greedy answers, and whether each ended by itself within 160 tokens."""
    import torch

    options = {"add_generation_prompt": True, "return_dict": True}
    prompts = [tokenizer.apply_chat_template(row.messages(), **options)["input_ids"] for row in rows]
    order = sorted(range(len(rows)), key=lambda n: len(prompts[n]))
    found: dict[int, tuple[str, bool]] = {}
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        width = max(len(prompts[n]) for n in group)
        pad = tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(prompts[n])) + prompts[n] for n in group], device=model.device)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=(ids != pad).long(), max_new_tokens=160, do_sample=False, pad_token_id=pad
            )
        for n, tokens in zip(group, out[:, width:].tolist(), strict=True):
            found[n] = (tokenizer.decode(tokens, skip_special_tokens=True), tokenizer.eos_token_id in tokens)
    return [found[n] for n in range(len(rows))]
