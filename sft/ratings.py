"""Thumbs up and down as training data: answers approved by a thumb, and rated answers with the prompt that was served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emendo.records import Answer, Correction, content_id
from emendo.store import Store
from rag.prompt import PROMPT_VERSION, Message, build_messages, history_messages
from sft.corrections import cluster_of


@dataclass(frozen=True)
class Rated:
    """An answer as served, and whether it was liked."""

    row: Correction  # nothing is corrected in it: it says where the answer is from, for leak checks and splits
    prompt: tuple[Message, ...]
    text: str
    liked: bool


def rated_answers(store: Store, history_turns: int = 3) -> tuple[list[Rated], list[tuple[str, str]]]:
    """The rated answers with their prompts, and (answer_id, reason) of those that are left out.

    The prompt is rebuilt from what was recorded: the passages and the turns before it, of which serving showed `history_turns`.
    """
    kept, dropped = [], []
    for answer, conversation_id, thumbs in store.rated_answers():
        fault = _fault(answer, conversation_id, thumbs)
        if fault:
            dropped.append((answer.answer_id, fault))
            continue
        before = _before(answer, store.turns(conversation_id) if conversation_id else [])
        history = history_messages(before[-history_turns:] if history_turns else ())
        prompt = build_messages(answer.question, [hit.chunk for hit in answer.hits], history)
        kept.append(Rated(as_approved(answer), tuple(prompt), answer.text, thumbs > 0))
    return kept, dropped


def _fault(answer: Answer, conversation_id: str, thumbs: int) -> str:
    """Why no training row can be made of the rated answer; "" for none."""
    if not thumbs:
        return "as many thumbs up as down"
    if answer.stopped:
        return "stopped before its end"
    if not answer.hits:
        return "no passages were shown"
    if not answer.timings.get("generate") and not (answer.abstained and thumbs > 0):
        return "not written by the model (refused for want of passages, asked back, or an approved answer)"
    if answer.prompt_version != PROMPT_VERSION:
        return "served with another prompt than today's"
    if not conversation_id and answer.standalone != answer.question:
        return "an API call whose earlier turns were not recorded"
    return ""


def _before(answer: Answer, turns: Sequence[Answer]) -> list[Answer]:
    """The turns before the question; an answer shown beside another one has that one's."""
    ids, first = [turn.answer_id for turn in turns], answer.beside or answer.answer_id
    return list(turns[: ids.index(first)]) if first in ids else []


def as_approved(answer: Answer) -> Correction:
    """The answer as a correction that changes nothing: what the bot said is what is learned, from the passages it cites."""
    evidence = tuple(dict.fromkeys(citation.chunk_id for citation in answer.citations))
    return Correction(
        correction_id=content_id(answer.answer_id, answer.text),
        answer_id=answer.answer_id,
        question=answer.standalone,
        hits=answer.hits,
        rejected=answer.text,
        corrected=answer.text,
        evidence=evidence,
        should_abstain=answer.abstained,
        reason="approved",
        author="",
        at="",
        cluster=cluster_of(answer.hits, evidence),
    )


def learnable(store: Store, thumbs_up: bool) -> list[Correction]:
    """The corrections of the store, and with `thumbs_up` before them the answers that were liked and never corrected.

    Before, because the later of two that say the same or contradict each other is learned: a correction wins over a thumb.
    """
    rows = [correction for _, correction in store.corrections()]
    if not thumbs_up:
        return rows
    corrected = {row.answer_id for row in rows}
    liked = [rated.row for rated in rated_answers(store)[0] if rated.liked and rated.row.answer_id not in corrected]
    return [*liked, *rows]


def learned_from(store: Store) -> list[Correction]:
    """All that an adapter of this workspace may have learned, rated answers included: what a leak check must know."""
    return [*(rated.row for rated in rated_answers(store)[0]), *(correction for _, correction in store.corrections())]
