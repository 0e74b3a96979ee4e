"""Corrections in and out: from a rated answer, from JSONL, and completed with passages where a row has none."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emendo.files import read_jsonl, write_whole
from emendo.records import Answer, Chunk, Correction, Hit, UserError, content_id, from_json, to_json
from emendo.store import now
from rag.answer import AnswerSettings, find_passages
from rag.citations import CITATION, split_sentences
from rag.prompt import REFUSAL
from sft.cleaning import shingles

if TYPE_CHECKING:
    from rag.retrieve import Retriever

REASONS = ("wrong", "incomplete", "wrong_source", "should_have_refused", "over_refused", "style")


def correct(
    answer: Answer,
    corrected: str,
    evidence: Sequence[str] = (),
    should_abstain: bool = False,
    reason: str = "wrong",
    author: str = "",
    found: Sequence[Chunk] = (),
) -> Correction:
    """The correction of a recorded answer; `evidence` are chunk_ids among its hits or of `found`.

    `found` are passages that the answer's search missed and a person found; those that are evidence take a place among the hits.
    Marks `[n]` none of which names evidence give way to ones that do.
    UserError when it says nothing, changes nothing, or names evidence that is in neither.
    """
    text = REFUSAL if should_abstain else corrected.strip()
    if not text:
        raise UserError("the corrected answer is empty; write the right answer, or tick that it should have refused")
    known = {chunk.chunk_id: chunk for chunk in (*found, *(hit.chunk for hit in answer.hits))}
    unknown = set(evidence) - set(known)
    if unknown:
        raise UserError(f"evidence {sorted(unknown)[0]!r} is not among the passages of this answer")
    marked = {int(n) for n in CITATION.findall(text)}
    if evidence and not any(n in marked and hit.chunk.chunk_id in evidence for n, hit in enumerate(answer.hits, 1)):
        text, marked = CITATION.sub("", text), set()
    hits = tuple(_with_evidence(answer.hits, {key: known[key] for key in evidence}, answer.question, marked))
    text = text if should_abstain else cite(text, [hit.rank for hit in hits if hit.chunk.chunk_id in evidence])
    if text == answer.text.strip():
        raise UserError("the corrected answer is the same as the bot's; change it, or leave it uncorrected")
    return Correction(
        correction_id=content_id(answer.answer_id, text),
        answer_id=answer.answer_id,
        question=answer.standalone,
        hits=hits,
        rejected=answer.text,
        corrected=text,
        evidence=tuple(evidence),
        should_abstain=should_abstain,
        reason=reason,
        author=author,
        at=now(),
        status="open",
        cluster=cluster_of(hits, evidence),
    )


def edited(correction: Correction, text: str) -> Correction:
    """The correction with another answer, and so another id: an adapter that learned the old one has not learned this one.

    UserError when the answer is empty or the bot's own.
    """
    text = text.strip()
    if not text:
        raise UserError("the corrected answer is empty; write the right answer, or reject the correction")
    if text == correction.rejected.strip():
        raise UserError("the corrected answer is the same as the bot's; change it, or reject the correction")
    source = correction.answer_id or correction.correction_id
    return dataclasses.replace(correction, correction_id=content_id(source, text), corrected=text, should_abstain=text == REFUSAL)


def cluster_of(hits: Sequence[Hit], evidence: Sequence[str]) -> str:
    """`document/section` of the first evidence passage, else of the first hit, else empty."""
    chosen = [hit for hit in hits if hit.chunk.chunk_id in evidence] or list(hits)
    return f"{chosen[0].chunk.doc_id}/{' > '.join(chosen[0].chunk.section)}" if chosen else ""


def cite(text: str, numbers: Sequence[int]) -> str:
    """The text with the given passage numbers put after each statement that has no citation of its own."""
    if not numbers or CITATION.search(text):
        return text
    marks = "".join(f" [{n}]" for n in numbers)
    lines = [" ".join(sentence + marks for sentence in split_sentences(line)) for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


def read_corrections(path: Path, retriever: Retriever | None = None, settings: AnswerSettings | None = None) -> list[Correction]:
    """All rows of a JSONL file, or UserError naming the file, the line and the cure; nothing is returned from a bad file.

    A row is a Correction as `emendo corrections export` writes it, or light: question, corrected, evidence (verbatim quotes),
    product, should_abstain, rejected, reason, cluster. Light rows need the `retriever` for their passages, which are shown as
    `settings` say.
    """
    rows = [(place, _check_row(place, row)) for place, row in read_jsonl(path, "corrections")]
    found = []
    for place, row in rows:
        try:
            found.append(from_json(Correction, row) if "hits" in row else _complete(row, retriever, settings or AnswerSettings()))
        except (KeyError, TypeError) as error:
            raise UserError(f"{place}: missing or misshapen field {error}; see data/README.md for the format") from error
        except UserError as error:
            raise UserError(f"{place}: {error}") from error
    return found


def write_corrections(path: Path, corrections: Iterable[Correction]) -> None:
    """One Correction a line; the file appears whole or not at all."""
    write_whole(path, "".join(to_json(correction) + "\n" for correction in corrections))


def _check_row(place: str, row: dict[str, Any]) -> dict[str, Any]:
    for key in ("question", "corrected"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise UserError(f"{place}: `{key}` is missing or empty")
    for key in ("product", "rejected", "reason", "author", "id", "at", "cluster"):
        if not isinstance(row.get(key, ""), str):
            raise UserError(f"{place}: `{key}` is {type(row[key]).__name__}; expected text")
    evidence = row.get("evidence", [])
    if not isinstance(evidence, list) or not all(isinstance(quote, str) for quote in evidence):
        raise UserError(f"{place}: `evidence` is not a list of texts")
    return row


def _complete(row: dict[str, Any], retriever: Retriever | None, settings: AnswerSettings) -> Correction:
    """A light row with the passages that would be shown for it; evidence that is not among them takes a place."""
    if retriever is None:
        raise UserError("the row has no passages (`hits`); index the manual first, then import with `emendo corrections import`")
    product = row.get("product", "")
    hits = find_passages(retriever, row["question"], settings, product)
    holders = [_holder(retriever, quote, product, settings) for quote in row.get("evidence", ())]
    wanted = {chunk.chunk_id: chunk for chunk in holders if chunk is not None}
    hits = _with_evidence(hits, wanted, row["question"])
    abstain = bool(row.get("should_abstain", False))
    if not abstain and not wanted:
        raise UserError("none of its evidence quotes stands in the indexed manuals; index the manual or mend the quote")
    numbers = [hit.rank for hit in hits if hit.chunk.chunk_id in wanted]
    text = REFUSAL if abstain else cite(row["corrected"].strip(), numbers[:1])
    return Correction(
        correction_id=row.get("id") or content_id(row["question"], text),
        answer_id="",
        question=row["question"],
        hits=tuple(hits),
        rejected=row.get("rejected", ""),
        corrected=text,
        evidence=tuple(wanted),
        should_abstain=abstain,
        reason=row.get("reason", "wrong"),
        author=row.get("author", ""),
        at=row.get("at") or now(),
        cluster=row.get("cluster") or cluster_of(hits, tuple(wanted)),
    )


def _with_evidence(hits: Sequence[Hit], wanted: dict[str, Chunk], question: str, cited: Collection[int] = ()) -> list[Hit]:
    """The hits with all evidence among them: a missed passage takes a drawn place, so that the place tells nothing.

    The places in `cited` stay as they are. A passage that was missed has neither score nor stages.
    """
    chunks = [wanted.get(hit.chunk.chunk_id, hit.chunk) for hit in hits]
    spare = [n for n, chunk in enumerate(chunks) if chunk.chunk_id not in wanted and n + 1 not in cited]
    for chunk in wanted.values():
        if chunk in chunks:
            continue
        if spare:
            place = spare.pop(random.Random(f"{question}/{chunk.chunk_id}").randrange(len(spare)))
            chunks[place] = chunk
        else:
            chunks.append(chunk)
    found = {hit.chunk.chunk_id: hit for hit in hits}
    return [dataclasses.replace(found.get(c.chunk_id, Hit(c, 0.0, 0)), chunk=c, rank=n) for n, c in enumerate(chunks, 1)]


def _holder(retriever: Retriever, quote: str, product: str, settings: AnswerSettings) -> Chunk | None:
    """The passage that holds at least 60 % of the quote's words in a row, cut around the quote if passages are cut; or None."""
    wanted = shingles(quote, 3)
    found = retriever.search(quote, k=10, product=product)
    best = max(found, key=lambda hit: len(wanted & shingles(hit.chunk.text, 3)), default=None)
    if best is None or len(wanted & shingles(best.chunk.text, 3)) < 0.6 * len(wanted):
        return None
    return shown_passage(retriever, best.chunk, quote, settings)


def shown_passage(retriever: Retriever, chunk: Chunk, words: str, settings: AnswerSettings) -> Chunk:
    """The passage as a model is shown it for these words: cut to its best sentences where passages are cut."""
    hits = [Hit(chunk, 0.0, 1)]
    if settings.focus_units:
        hits, _ = retriever.focus(words, hits, 1, settings.focus_units)
    return (retriever.grow(hits) if settings.whole_sections else hits)[0].chunk
