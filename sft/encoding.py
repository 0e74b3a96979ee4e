"""Examples to token ids with an exact label mask: the answer and its end-of-turn token, and nothing else."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError

from emendo.chat_template import render
from emendo.records import Correction, Example, UserError
from sft.choice_loss import choices_of
from sft.examples import without_lowest_passage
from sft.unit_answers import as_units


@dataclass(frozen=True)
class Encoded:
    input_ids: list[int]
    completion_mask: list[int]  # 1 on the labelled tokens, same length
    # Of a row that learns choices (sft.choice_loss): for each labelled token the ids that are allowed there, its own first.
    allowed: list[list[int]] = field(default_factory=list, kw_only=True)

    @property
    def labelled(self) -> int:
        return sum(self.completion_mask)


def encode(example: Example, tokenizer: Any, stop_ids: set[int]) -> Encoded:
    """Token ids of the whole example through the chat template.

    UserError when the generation prompt is not an exact prefix of it (then the model would be trained on another prompt than it
    is served with), when the answer does not end in a token at which generation stops (then it would never learn to stop), or
    when the answer itself holds such a token (then it would be cut there).
    """
    messages = list(example.messages)
    try:
        prompt = render(tokenizer, messages[:-1], generate=True)
        whole = render(tokenizer, messages, generate=False)
    except TemplateError as error:
        raise UserError(
            f"this model's chat template refuses the conversation ({error}); take its instruction-tuned version"
        ) from error
    if whole[: len(prompt)] != prompt:
        raise UserError(
            "this model's chat template renders the answer turn differently in training and serving; it cannot be tuned"
        )
    inside = stop_ids & set(tokenizer(messages[-1]["content"], add_special_tokens=False)["input_ids"])
    if inside:
        token = tokenizer.convert_ids_to_tokens(min(inside))
        raise UserError(f"the answer of correction {example.correction_id} holds {token!r}, at which the model stops; remove it")
    answer = whole[len(prompt) :]
    ends = [n for n, token in enumerate(answer) if token in stop_ids]
    if not ends:
        raise UserError(
            "this model's chat template ends an answer with a token at which generation does not stop; set eos_token_id in its "
            "generation_config.json to the template's end-of-turn token"
        )
    answer = answer[: ends[0] + 1]  # some templates put a line break or an end of text after the end of turn
    return Encoded([*prompt, *answer], [0] * len(prompt) + [1] * len(answer))


def fit(example: Example, correction: Correction, tokenizer: Any, stop_ids: set[int], max_tokens: int) -> tuple[Example, Encoded]:
    """The example with as many passages as fit into `max_tokens`, and its encoding: the lowest-ranked go first, never the answer.

    UserError when it is too long with its evidence alone, and for everything `encode` refuses.
    """
    row = encode(example, tokenizer, stop_ids)
    length = len(row.input_ids)
    while len(row.input_ids) > max_tokens:
        shorter = without_lowest_passage(example, correction)
        if shorter is None:
            raise UserError(
                f"the example of correction {example.correction_id} has {length} tokens, the limit is {max_tokens}, and "
                f"{len(row.input_ids)} remain with its evidence alone; raise --set tune.max_tokens, or leave it out"
            )
        example, row = shorter, encode(shorter, tokenizer, stop_ids)
    return example, row


def encode_choices(
    example: Example, correction: Correction, tokenizer: Any, stop_ids: set[int], max_tokens: int
) -> tuple[Example, Encoded] | None:
    """The example with its answer as units of its passages, and the choices that these leave open; None without any."""
    texts = {hit.chunk.chunk_id: hit.chunk.text for hit in correction.hits}
    passages = [texts[passage] for passage in example.passages]
    answer = as_units(example.messages[-1]["content"], passages)
    example = dataclasses.replace(example, messages=(*example.messages[:-1], {"role": "assistant", "content": answer}))
    row = encode(example, tokenizer, stop_ids)
    found = choices_of(tokenizer, passages, answer, row.input_ids[-1])
    if found is None or row.input_ids[-len(found[0]) :] != found[0] or len(row.input_ids) > max_tokens:
        return None
    prompt, open_at = len(row.input_ids) - len(found[0]), [bool(allowed) for allowed in found[1]]
    return example, Encoded(row.input_ids, [0] * prompt + list(map(int, open_at)), allowed=[ids for ids in found[1] if ids])


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
