"""Examples to token ids with an exact label mask: the answer and its end-of-turn token, and nothing else."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emendo.records import Example, UserError


@dataclass(frozen=True)
class Encoded:
    input_ids: list[int]
    completion_mask: list[int]  # 1 on the labelled tokens, same length

    @property
    def labelled(self) -> int:
        return sum(self.completion_mask)


def encode(example: Example, tokenizer: Any, stop_ids: set[int]) -> Encoded:
    """Token ids of the whole example through the chat template.

    UserError when the generation prompt is not an exact prefix of it (then the model would be trained on another prompt than it
    is served with), or when the answer does not end in a token at which generation stops (then it would never learn to stop).
    """
    messages = [dict(message) for message in example.messages]
    options = {"return_dict": True, "enable_thinking": False}
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, **options)["input_ids"]
    whole = tokenizer.apply_chat_template(messages, **options)["input_ids"]
    if whole[: len(prompt)] != prompt:
        raise UserError(
            "this model's chat template renders the answer turn differently in training and serving; it cannot be tuned"
        )
    answer = list(whole[len(prompt) :])
    ends = [n for n, token in enumerate(answer) if token in stop_ids]
    if not ends:
        raise UserError(
            "this model's chat template ends an answer with a token at which generation does not stop; set eos_token_id in its "
            "generation_config.json to the template's end-of-turn token"
        )
    answer = answer[: ends[-1] + 1]  # some templates put a line break after the end of turn
    return Encoded([*prompt, *answer], [0] * len(prompt) + [1] * len(answer))


def encode_all(examples: Sequence[Example], tokenizer: Any, stop_ids: set[int], max_tokens: int) -> list[Encoded]:
    """All examples, in order; UserError names the first that is longer than `max_tokens`, because none is cut or dropped."""
    rows = [encode(example, tokenizer, stop_ids) for example in examples]
    for example, row in zip(examples, rows, strict=True):
        if len(row.input_ids) > max_tokens:
            raise UserError(
                f"the example of correction {example.correction_id} has {len(row.input_ids)} tokens, the limit is {max_tokens}; "
                "show fewer passages (--set examples.passages=3) or raise --set tune.max_tokens"
            )
    return rows


def batches_in_order(rows: Sequence[Encoded], batch_size: int, epochs: float, seed: int) -> list[Encoded]:
    """The rows in the order they are trained on, all epochs one after the other: batches of similar length, shuffled.

    The order is fixed before the run, because a sampler that draws it while running does not draw the same after a resume.
    """
    ordered: list[Encoded] = []
    for epoch in range(math.ceil(epochs)):
        dice = random.Random(f"{seed}/{epoch}")
        by_length = sorted(rows, key=lambda row: (len(row.input_ids), dice.random()))
        batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        # A short batch would shift all later ones: it is filled with rows of the shortest batch.
        if len(batches) > 1 and len(batches[-1]) < batch_size:
            batches[-1] = batches[-1] + batches[0][: batch_size - len(batches[-1])]
        dice.shuffle(batches)
        ordered += [row for batch in batches for row in batch]
    return ordered[: round(epochs * len(rows))] if epochs != math.ceil(epochs) else ordered
