"""Lines and pages of a PDF put together: words cut by a hyphen, sentences cut by a page's end, labels and what they label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

from emendo.records import Block
from rag.outline import as_warning, is_signal_word, join_lines
from rag.pdf_chars import RAISED
from rag.pdf_lines import HYPHEN

_URL_PART = re.compile(r"[^\s/]*(?:[-/_=&%?+~#]|\.\w)(?!/)")


def join_pages(pages: Iterable[Sequence[Block]], words: Counter[str]) -> list[Block]:
    """The blocks of all pages. Notes at the foot of a page come behind the sentence that goes on overleaf."""
    blocks: list[Block] = []
    notes: list[Block] = []  # of the page before
    for found in pages:
        ends = _before_notes(found)
        for n, block in enumerate(found[:ends]):
            if n or not (blocks and _goes_on(blocks[-1], block)):
                blocks += notes
                notes = []
            _append(blocks, block, words)
        notes += found[ends:]
    return blocks + notes


def mend_hyphens(text: str, words: Counter[str]) -> str:
    """The text of a table, its words that are cut at the end of a line mended."""
    first, *parts = re.split(f"(?<={HYPHEN}) ", text)
    return reduce(lambda whole, part: mend_lines(whole, part, words), parts, first)


def mend_lines(text: str, following: str, words: Counter[str]) -> str:
    """Two lines as one. A word cut by a hyphen is mended the way the rest of the document spells it."""
    if "://" in text.rsplit(" ", 1)[-1] and text[-1] != "." and _URL_PART.match(following):
        return text + following  # an address that was too long for its line
    if text.endswith(HYPHEN) or (text.endswith("-") and text[-2:-1].isalpha()):
        stem, head, tail = text[:-1], re.findall(r"\w*$", text[:-1])[0], re.findall(r"^\w*", following)[0]
        hyphenated, plain = words[f"{head}-{tail}".lower()], words[f"{head}{tail}".lower()]
        if not tail[:1].islower() or hyphenated > plain:
            return f"{stem}-{following}"
        return stem + following
    return join_lines(text, following)


def _append(blocks: list[Block], block: Block, words: Counter[str]) -> None:
    """Add the block, or join it to the last one when the page break cut a sentence.

    Parts of a table stay apart, so that a row is cited with the page it stands on.
    """
    if block.kind == "heading" and blocks and re.fullmatch(r"\d{1,2}\.", blocks[-1].text):
        blocks.pop()  # the heading's own number, set apart
    last = blocks[-1] if blocks else None
    if last is not None and _goes_on(last, block):
        text = mend_lines(last.text, block.text, words)
        blocks[-1] = replace(last, text=text, boxes=(*last.boxes, *block.boxes))
    elif last is not None and _is_labelled(last, block):
        labelled = replace(block, text=f"{last.text.strip(' :!').upper()}: {block.text}", boxes=(*last.boxes, *block.boxes))
        blocks[-1] = as_warning(labelled)
    elif block.text:
        blocks.append(block)


def _goes_on(last: Block, block: Block) -> bool:
    """Whether the last block is a sentence that the page break cut, and this its end."""
    if last.page == block.page or last.kind in ("heading", "table") or block.kind != "paragraph":
        return False
    return last.text[-1] not in ".!?:" and block.text[:1].islower()


def _is_labelled(label: Block, block: Block) -> bool:
    """Whether a block is nothing but "Note" or "Warning", and stands over this one."""
    return label.kind == block.kind == "paragraph" and label.page == block.page and is_signal_word(label.text)


def _before_notes(blocks: Sequence[Block]) -> int:
    """How many of a page's blocks stand before the notes at its foot."""
    ends = len(blocks)
    while ends and blocks[ends - 1].kind == "paragraph" and blocks[ends - 1].text[0] in RAISED:
        ends -= 1
    return ends
