"""Hits with the text around them: short passages are found better, longer ones read better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emendo.records import Chunk, Hit
from rag.index import Index

_REACH = 12  # chunks looked at on either side


def grow_hits(index: Index, hits: Sequence[Hit], most_characters: int) -> list[Hit]:
    """The hits in their order, each with the text of its section before and after it up to `most_characters`.

    A hit that a better one already shows is left out, and ranks are counted anew. A hit keeps its chunk_id, section and
    header; pages and boxes are those of all that is shown. 0 leaves the hits as they are.
    """
    if not most_characters:
        return list(hits)
    grown: list[Hit] = []
    shown: set[str] = set()
    for hit in hits:
        if hit.chunk.chunk_id in shown:
            continue
        run = _around(hit.chunk, index.around(hit.chunk.chunk_id, _REACH), most_characters, shown)
        shown.update(chunk.chunk_id for chunk in run)
        grown.append(replace(hit, chunk=_joined(hit.chunk, run), rank=len(grown) + 1))
    return grown


def _around(chunk: Chunk, document: Sequence[Chunk], most: int, shown: set[str]) -> list[Chunk]:
    """The run of chunks of one section around `chunk`, grown by turns after and before it; never into what is shown already."""
    middle = next((n for n, other in enumerate(document) if other.chunk_id == chunk.chunk_id), None)
    if middle is None:
        return [chunk]
    start, end, size = middle, middle + 1, len(chunk.text)

    def fits(n: int) -> bool:
        return (
            0 <= n < len(document)
            and document[n].section == chunk.section
            and document[n].chunk_id not in shown
            and size + len(document[n].text) <= most
        )

    while fits(end) or fits(start - 1):
        if fits(end):
            size += len(document[end].text)
            end += 1
        if fits(start - 1):
            size += len(document[start - 1].text)
            start -= 1
    return list(document[start:end])


def _joined(hit: Chunk, run: Sequence[Chunk]) -> Chunk:
    lines: list[str] = []
    for chunk in run:
        new = chunk.text.split("\n")
        if lines and " | " in new[0] and new[0] in lines:  # a table that was cut: its header row stands above already
            new = new[1:]
        lines += new
    return replace(
        hit,
        text="\n".join(lines),
        pages=tuple(sorted({page for chunk in run for page in chunk.pages})),
        boxes=tuple(dict.fromkeys(box for chunk in run for box in chunk.boxes)),
    )
