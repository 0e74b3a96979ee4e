"""Verbatim answers to a batch of prompts: read, choose a unit each, print it, go on until every row has stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from emendo.prompt_reader import PromptReader
from emendo.text_stream import TextStream
from emendo.verbatim import Logprobs, Tokens, VerbatimPlan, branches, stop_probability


def decide_refusals(reader: PromptReader, plans: Sequence[VerbatimPlan], refuse_above: float) -> None:
    """Set `refusing` on each plan whose refusal as a whole is at least that probable; 1 never.

    Token by token, one refusal would win against forty units that share the probability of an answer among them.
    """
    if refuse_above >= 1:
        return
    tried = reader.try_out([(row, plans[row].refusal) for row in reader.rows])
    for row, logprobs in zip(reader.rows, tried, strict=True):
        first, *others = plans[row].refusal
        whole = float(reader.next_token(row)[first]) + sum(float(step[i]) for step, i in zip(logprobs, others, strict=False))
        plans[row].refusing = plans[row].refusing or math.exp(whole) >= refuse_above


def quote(
    reader: PromptReader,
    plans: Sequence[VerbatimPlan],
    stop_ids: Sequence[int],
    most_tokens: int,
    streams: Sequence[TextStream] = (),
) -> list[list[int]]:
    """The token ids of every row's answer, at most about `most_tokens` after the first unit. `streams` get them unit by unit."""
    written: list[list[int]] = [[] for _ in plans]
    while reader.rows:
        chosen = _next_units(reader, plans, stop_ids, [most_tokens - len(ids) for ids in written])
        for row in reader.rows if streams else ():
            if row in chosen:
                streams[row].put(chosen[row])
            if row not in chosen or plans[row].ended:
                streams[row].end()
        for row, ids in chosen.items():
            written[row] += ids
        chosen = {row: ids for row, ids in chosen.items() if not (plans[row].ended or (streams and streams[row].left))}
        if not chosen:
            break
        reader.read(chosen)
    return written


def _next_units(
    reader: PromptReader, plans: Sequence[VerbatimPlan], stop_ids: Sequence[int], room: Sequence[int]
) -> dict[int, Tokens]:
    """What each open row prints next; rows that stop are missing."""
    options = {row: plans[row].options() for row in reader.rows}
    for row in reader.rows:
        if plans[row].begun and (
            not options[row]
            or max(map(len, options[row])) > room[row]
            or (not plans[row].undecided and stop_probability(options[row], stop_ids, reader.next_token(row)) >= 0.5)
        ):
            del options[row]
    deep = [(row, prefix) for row, texts in options.items() for prefix in branches(texts) if prefix]
    tried = {key: logprobs[-1] for key, logprobs in zip(deep, reader.try_out(deep), strict=True)}

    def after(row: int) -> Logprobs:
        return lambda prefix: tried[row, prefix] if prefix else reader.next_token(row)

    return {row: plans[row].choose(texts, after(row)) for row, texts in options.items()}
