"""The records that flow between the steps, one name each, and the error a user is meant to see.

Every record is a frozen dataclass of plain values, so it can be written to JSON with `to_json` and read back with `from_json`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

BlockKind = Literal["heading", "paragraph", "step", "list_item", "table", "warning", "code"]
T = TypeVar("T")


class UserError(Exception):
    """A failure the user can repair: what was got, what was expected, and the command or change that repairs it.

    The CLI prints it in one line without a traceback and exits with 2.
    """


@dataclass(frozen=True)
class Box:
    """A rectangle on a page, in PDF points with the origin at the top left."""

    page: int  # 1-based
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Block:
    """One paragraph, step, table, warning, ... as it stands in the manual.

    A table's text is one line per row, cells joined by " | ", the header row first.
    """

    kind: BlockKind
    text: str
    level: int = 0  # headings: 1 is the outermost
    page: int | None = None  # 1-based; None where the format has no pages
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Document:
    """One file of a manual, after parsing."""

    doc_id: str  # readable and unique in one index: the slug of the relative path
    title: str
    product: str
    source: str  # path relative to the folder or archive that was indexed
    pages: int  # 0 where the format has no pages
    sha256: str  # of the file's bytes
    parser: str  # name and version of the parser that read it
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """The blocks under one heading (its heading block not included)."""

    path: tuple[str, ...]  # headings from the outermost to its own; () before the first heading
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Chunk:
    """What is indexed and cited."""

    chunk_id: str  # hash of document hash, header and text: the same input gives the same id
    doc_id: str
    title: str  # the document's
    product: str
    section: tuple[str, ...]
    text: str  # the passage itself, without its header
    header: str  # "title > H1 > H2", put before the text for both indexes and the prompt
    pages: tuple[int, ...] = ()
    boxes: tuple[Box, ...] = ()
    source: str = ""
    position: int = 0  # order within its document
    context: str = ""  # what a model wrote to place the passage; searched with it, never shown or quoted
    metadata: str = ""  # JSON, of a text that a LangChain program added


@dataclass(frozen=True)
class Hit:
    """A chunk found for a question."""

    chunk: Chunk
    score: float  # fused score, higher is better; comparable within one query only
    rank: int  # 1-based
    stages: dict[str, float] = field(default_factory=dict)  # e.g. dense_rank, dense_cosine, lexical_rank, lexical_bm25
    also_in: tuple[str, ...] = ()  # other products whose manuals hold the same text word for word


@dataclass(frozen=True)
class Citation:
    """One `[n]` of an answer, resolved."""

    n: int  # 1-based number of the passage in the prompt
    chunk_id: str
    doc_id: str
    title: str
    section: tuple[str, ...]
    pages: tuple[int, ...]
    source: str
    quote: str  # the sentence of the answer that carries the citation
    supported: bool  # every number of that sentence stands in the passage, and most of its words do


@dataclass(frozen=True)
class Answer:
    """What the bot said, with all that is needed to trace it and to train on it."""

    answer_id: str
    question: str
    standalone: str  # the question after condensing with the history; equal to `question` without history
    text: str
    citations: tuple[Citation, ...]
    hits: tuple[Hit, ...]  # the passages in prompt order: hit i is `[i + 1]`
    abstained: bool
    confidence: float  # 0..1, that the passages hold an answer; from retrieval alone
    model_id: str
    adapter_id: str  # "" for the base model
    prompt_version: str
    index_id: str
    timings: dict[str, float] = field(default_factory=dict)  # seconds per stage
    stopped: bool = False  # a person stopped it before its end, or it never came: then it has no text
    beside: str = ""  # answer_id of another model's answer to the same question, beside which it is shown


@dataclass(frozen=True)
class Correction:
    """A person's repair of one answer."""

    correction_id: str
    answer_id: str  # "" when imported from a file
    question: str
    hits: tuple[Hit, ...]  # as recorded with the answer: a re-index cannot change old examples
    rejected: str
    corrected: str  # citations [n] count in `hits` order
    evidence: tuple[str, ...]  # chunk_ids of the passages that hold the right answer
    should_abstain: bool
    reason: str
    author: str
    at: str  # ISO 8601, UTC
    status: Literal["open", "approved", "rejected"] = "approved"
    cluster: str = ""  # manual/section; examples are split by it


@dataclass(frozen=True)
class Example:
    """One training row: the prompt exactly as served, and the answer to learn."""

    messages: tuple[dict[str, str], ...]  # the last one is the assistant's
    correction_id: str
    cluster: str
    split: Literal["train", "validation"]
    passages: tuple[str, ...] = ()  # chunk_ids in prompt order


@dataclass(frozen=True)
class Question:
    """A held-out question with its gold facts and evidence."""

    id: str
    question: str
    answerable: bool
    answer: str = ""
    facts: tuple[str, ...] = ()  # each must appear in the answer; "a|b" means either
    product: str = ""
    section: str = ""
    pages: tuple[str, ...] = ()
    quote: str = ""
    category: str = ""
    cluster: str = ""


@dataclass(frozen=True)
class AdapterCard:
    """What an adapter is and what it was made from; saved beside its weights as card.json."""

    adapter_id: str
    base_model: str
    base_sha256: str
    prompt_version: str
    template_sha256: str
    settings: dict[str, Any]
    example_hashes: tuple[str, ...]
    correction_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    # Nats per labelled token or, on choices, per row: train_first, train_last, validation_last, validation_best; and nats per
    # token of general text: general_before, general_after.
    losses: dict[str, float]
    versions: dict[str, str]
    seconds: float
    at: str  # ISO 8601, UTC


@dataclass(frozen=True)
class Score:
    """One metric of one answer. `value` is None when it cannot be scored; then `reason` says why."""

    question_id: str
    metric: str
    value: float | None
    reason: str = ""
    evidence: str = ""


def content_id(*parts: str, length: int = 16) -> str:
    """Hex id of the given strings: sha256 over their length-prefixed UTF-8, cut to `length` characters."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(str(len(raw)).encode() + b":" + raw)
    return digest.hexdigest()[:length]


def to_json(record: Any) -> str:
    """One line of JSON."""
    return json.dumps(dataclasses.asdict(record), ensure_ascii=False)


def from_json(cls: type[T], data: str | dict[str, Any]) -> T:
    """The record of class `cls` from its JSON; unknown fields are ignored.

    KeyError for a missing field without a default, TypeError for text where a number is expected and the like.
    """
    value = json.loads(data) if isinstance(data, str) else data
    return typing.cast(T, _build(cls, value))


_PLAIN: dict[Any, Any] = {str: str, bool: bool, int: int, float: (int, float)}
_hints = functools.cache(typing.get_type_hints)  # looking them up takes longer than reading a record


def _build(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        known = {}
        for f in dataclasses.fields(kind):
            if f.name in value:
                known[f.name] = _build(hints[f.name], value[f.name])
            elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                raise KeyError(f"{kind.__name__}.{f.name}")
        return kind(**known)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"expected a list, got {value!r}")
        return tuple(_build(args[0], v) for v in value)
    if origin in (types.UnionType, typing.Union) and value is not None:
        inner = next(a for a in args if a is not type(None))
        return _build(inner, value)
    wanted = _PLAIN.get(kind)
    if wanted and not isinstance(value, wanted):
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value
