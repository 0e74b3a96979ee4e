"""Against forgetting: the base model's own answers mixed into the training rows, and how much of general text is unlearned."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emendo.chat_template import render
from emendo.files import write_whole
from emendo.hf_model import HFChatModel
from emendo.records import UserError
from emendo.weights_lock import WeightsLock
from sft.encoding import Encoded

DATA = Path(__file__).resolve().parent.parent / "data"
PROMPTS, GENERAL = DATA / "replay_prompts.txt", DATA / "general.txt"
TEXT_BATCH = 32
_SAMPLED: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 96}
MAX_ANSWER = 96  # tokens; longer answers are not rehearsed, because they would be learned without their end


def replay_rows(
    model: Any, tokenizer: Any, stop_ids: set[int], count: int, file: Path, prompts: Path | None = None
) -> list[Encoded]:
    """`count` rows, or as many as there are, of the model's own greedy answers to general prompts (arXiv 2403.01244).

    They are kept in `file`: a resumed run trains on the same ones. UserError for a prompt file that is missing or empty.
    """
    if file.is_file():
        return [Encoded(*row) for row in json.loads(file.read_text(encoding="utf-8"))]
    asked = [[{"role": "user", "content": line}] for line in _parts(prompts or PROMPTS, "\n")[:count]]
    answers = _answers(model, tokenizer, asked)
    rows = []
    for messages, answer in zip(asked, answers, strict=True):
        prompt = render(tokenizer, messages, generate=True)
        whole = render(tokenizer, [*messages, {"role": "assistant", "content": answer}], generate=False)
        ends = [n for n, token in enumerate(whole) if token in stop_ids]
        new = len(whole) - len(prompt)
        if whole[: len(prompt)] == prompt and ends and ends[-1] >= len(prompt) and 1 < new < MAX_ANSWER:
            rows.append(Encoded(whole[: ends[-1] + 1], [0] * len(prompt) + [1] * (ends[-1] + 1 - len(prompt))))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps([[row.input_ids, row.completion_mask] for row in rows]))
    return rows


def text_rows(model: Any, tokenizer: Any, count: int, file: Path, seed: int) -> list[Encoded]:
    """`count` rows of text that the model writes by itself, sampled from the begin-of-text token; all of it is learned.

    So the tuned model stays near the base's own distribution also where no question is asked. Kept in `file`, as above.
    """
    import torch

    if file.is_file():
        return [Encoded(*row) for row in json.loads(file.read_text(encoding="utf-8"))]
    begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    training, rows = model.training, []
    model.eval()
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        for start in range(0, count, TEXT_BATCH):
            ids = torch.full((min(TEXT_BATCH, count - start), 1), begin, device=model.device)
            mask = torch.ones_like(ids)
            rows += model.generate(input_ids=ids, attention_mask=mask, **_SAMPLED, pad_token_id=tokenizer.pad_token_id).tolist()
    model.train(training)
    made = []
    for row in rows:
        ends = [n for n, token in enumerate(row) if n and token in (tokenizer.eos_token_id, tokenizer.pad_token_id)]
        kept = row[: ends[0] + 1] if ends else row
        made.append(Encoded(kept, [0] + [1] * (len(kept) - 1)))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps([[row.input_ids, row.completion_mask] for row in made]))
    return made


def _answers(model: Any, tokenizer: Any, asked: Sequence[list[dict[str, str]]]) -> list[str]:
    from langchain_core.messages import HumanMessage

    training = model.training
    chat = HFChatModel(model=model.eval(), tokenizer=tokenizer, model_id="", lock=WeightsLock(1), max_new_tokens=MAX_ANSWER)
    texts = chat.generate_texts([[HumanMessage(messages[0]["content"])] for messages in asked])
    model.train(training)
    return texts


def general_loss(model: Any, tokenizer: Any, text: Path | None = None, adapted: bool = True) -> float:
    """Nats per token of general text, paragraph by paragraph, with or (for a PEFT model) without the adapter."""
    import contextlib

    import torch

    total, tokens, training = 0.0, 0, model.training
    model.eval()
    with torch.inference_mode(), contextlib.nullcontext() if adapted else model.disable_adapter():
        for part in _parts(text or GENERAL, "\n\n"):
            ids = tokenizer(part, return_tensors="pt", truncation=True, max_length=1024)["input_ids"].to(model.device)
            if ids.shape[1] > 1:
                total += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
                tokens += ids.shape[1] - 1
    model.train(training)
    return total / tokens if tokens else math.nan


def _parts(file: Path, separator: str) -> list[str]:
    try:
        parts = [part.strip() for part in file.read_text(encoding="utf-8").split(separator)]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}); give a UTF-8 text file") from error
    if not any(parts):
        raise UserError(f"{file} is empty")
    return [part for part in parts if part]
