"""Lists of terms in a PDF: an option, key or setting on a line of its own, and below it, indented, what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from emendo.records import Block

_MOST_WORDS = 10  # of a term
_LEAST_WORDS = 3  # of what it means
_ONE_LINE = 24.0  # points
_MOST_GAP = 16.0  # points from the term to its text
_INDENT = (8.0, 120.0)  # points
_SAME_EDGE = 3.0  # points


def join_terms(blocks: Sequence[Block]) -> list[Block]:
    """A page's blocks with "term: what it means" as one, as definition lists of HTML are read; a pair alone is left as it is."""
    pairs = [(term, text) for term, text in pairwise(blocks) if _explains(term, text)]
    listed = [id(term) for term, text in pairs if sum(_alike(term, text, *other) for other in pairs) > 1]
    found: list[Block] = []
    for block in blocks:
        if found and id(found[-1]) in listed:
            term = found.pop()
            block = replace(block, text=f"{term.text}: {block.text}", boxes=(*term.boxes, *block.boxes))
        found.append(block)
    return found


def _explains(term: Block, text: Block) -> bool:
    if term.kind not in ("paragraph", "code") or text.kind != "paragraph" or not (term.boxes and text.boxes):
        return False
    above, below = term.boxes[-1], text.boxes[0]
    one_line = "\n" not in term.text and above.y1 - above.y0 < _ONE_LINE
    indented = _INDENT[0] <= below.x0 - above.x0 <= _INDENT[1] and -2 < below.y0 - above.y1 < _MOST_GAP
    is_term = len(term.text.split()) <= _MOST_WORDS and term.text[-1] not in ".:!?;,"
    return one_line and indented and is_term and len(text.text.split()) >= _LEAST_WORDS


def _alike(term: Block, text: Block, other_term: Block, other_text: Block) -> bool:
    """Whether both pairs stand at the same edges."""
    edges = ((term, other_term), (text, other_text))
    return all(abs(a.boxes[0].x0 - b.boxes[0].x0) < _SAME_EDGE for a, b in edges)
