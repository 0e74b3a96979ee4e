"""PDF -> blocks with pages and boxes: furniture dropped, headings found, lines joined to paragraphs, ruled tables kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

from emendo.records import Block, Box
from rag.outline import (
    Reading,
    is_contents_line,
    is_signal_word,
    readable_title,
    starts_anew,
    text_block,
)
from rag.pdf_chars import RAISED
from rag.pdf_columns import find_columns
from rag.pdf_definitions import join_terms
from rag.pdf_furniture import drop_furniture
from rag.pdf_headings import find_headings
from rag.pdf_joins import join_pages, mend_hyphens, mend_lines
from rag.pdf_lines import HYPHEN, Line, Page, around, open_pdf, read_outline, read_pages
from rag.pdf_order import order
from rag.pdf_tables import Table, find_tables

_NUMBERED = re.compile(r"^\d+(?:\.\d+)*\.?\s")
_STEP_MARK = re.compile(r"\d{1,2}[.)]?")
_CODE = re.compile(r"^[A-Z]{1,2}[- ]?\d{2,3}\b")  # lines that each explain a code
_CHAPTER = re.compile(r"(?:chapter|part|appendix|section) (?:\d{1,2}|[IVX]+|[A-Z])", re.IGNORECASE)  # above its title
_MOST_HEADS = 6  # lines of furniture on a scan; more were a table of contents
_MIN_TEXT = 15  # characters; a page with fewer and with a picture is a scan or a photo


def read(data: bytes, source: str, ocr: str = "") -> Reading:
    """The reading of a PDF. Pages of pictures without text are read by OCR in the languages `ocr`, or named in the warnings."""
    document = open_pdf(data, source)
    try:
        found = list(read_pages(document))
        pages = _tidy_pages(found)
        scans = [
            page.number for page, whole in zip(pages, found, strict=True) if _is_scan(page) and len(whole.lines) <= _MOST_HEADS
        ]
        if ocr and scans:
            from rag.ocr import read_page

            found = [
                replace(p, lines=read_page(document[p.number - 1], p.number, ocr)) if p.number in scans else p for p in found
            ]
            pages = _tidy_pages(found)
        outline = read_outline(document)
        metadata = document.get_metadata_value("Title")
    finally:
        document.close()
    ruled = find_tables(data, [page.number for page in pages if page.grid])
    headings = find_headings(pages, outline)
    words = _vocabulary(pages)
    by_page = []
    for page in pages:
        tables = ruled.get(page.number, [])
        free = [line for line in page.lines if not any(_inside(line.box, table.box) for table in tables)]
        by_page.append(join_terms(list(_page_blocks(page, headings, [*tables, *find_columns(free, headings)], words))))
    blocks = join_pages(by_page, words)
    warnings = _page_warnings(scans, pages, ocr)
    unread = [page.number for page in pages if page.grid and page.number not in ruled]
    if unread:
        warnings.append(f"{name_pages(unread)} damaged: tables there are read as text")
    return Reading(tuple(blocks), _title(metadata, pages), len(pages), tuple(warnings))


def _tidy_pages(pages: Sequence[Page]) -> list[Page]:
    return [order(page) for page in drop_furniture([_join_split_lines(page) for page in pages])]


def _is_scan(page: Page) -> bool:
    return bool(page.images) and sum(len(line.text) for line in page.lines) < _MIN_TEXT


def _page_warnings(scans: Sequence[int], pages: Sequence[Page], ocr: str) -> list[str]:
    """What the user should know of the pages without text of their own."""
    silent = [page.number for page in pages if page.number in scans and _is_scan(page)]
    warnings = []
    if len(silent) < len(scans):
        warnings.append(f"{name_pages([n for n in scans if n not in silent])} read by OCR: check numbers against the page")
    if silent:
        cure = "OCR found none" if ocr else "if they are scans, add: --set index.ocr=eng"
        warnings.append(f"{name_pages(silent)} without text ({cure})")
    damaged = [page.number for page in pages if page.damaged]
    if damaged:
        warnings.append(f"{name_pages(damaged)} damaged and left out: export the PDF anew")
    return warnings


def name_pages(numbers: Sequence[int]) -> str:
    """ "page 4", "pages 2, 5-9": page numbers in rising order for people."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    named = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"page{'s' if len(numbers) > 1 else ''} {named}"


def _join_split_lines(page: Page) -> Page:
    """Pieces of one printed line put together again: pdfium breaks at superscripts."""
    joined: list[Line] = []
    for line in page.lines:
        last = joined[-1] if joined else None
        if len(line.pieces) == 2 and _is_step_mark(*line.pieces):
            joined.append(_as_step(*line.pieces))
        elif last and _is_step_mark(last, line):
            joined[-1] = _as_step(last, line)
        elif last and 0 <= line.box.x0 - last.box.x1 < last.size and _same_row(last, line):
            marked = last.text[-1] in RAISED and line.text[0].isalnum()  # the mark hangs over the space behind it
            space = "" if line.box.x0 - last.box.x1 < last.size * 0.15 and not marked else " "
            joined[-1] = _join_pieces(last, line, space)
        else:
            joined.append(line)
    return replace(page, lines=tuple(joined))


def _is_step_mark(mark: Line, line: Line) -> bool:
    """Whether `mark` is the large number of a step beside its text."""
    beside = line.box.x0 > mark.box.x1 and _same_row(mark, line)
    return beside and mark.size > line.size and _STEP_MARK.fullmatch(mark.text) is not None


def _as_step(mark: Line, line: Line) -> Line:
    return replace(line, text=f"{mark.text.rstrip('.)')}. {line.text}", box=around([mark.box, line.box]), pieces=())


def _join_pieces(last: Line, line: Line, space: str) -> Line:
    whole = replace(last, text=last.text + space + line.text, box=around([last.box, line.box]), pieces=())
    left, right = last.pieces or (last,), line.pieces or (line,)
    if len(left) + len(right) == 2:
        return whole
    return replace(whole, pieces=(*left[:-1], _join_pieces(left[-1], right[0], space), *right[1:]))


def _same_row(a: Line, b: Line) -> bool:
    overlap = min(a.box.y1, b.box.y1) - max(a.box.y0, b.box.y0)
    return overlap > 0.5 * min(a.box.y1 - a.box.y0, b.box.y1 - b.box.y0)


def _page_blocks(page: Page, headings: dict[Line, int], tables: Sequence[Table], words: Counter[str]) -> Iterator[Block]:
    """The page's blocks in order; a table stands where the first of its lines stood."""
    waiting = list(tables)
    group: list[Line] = []
    gap = _usual_gap(page)

    def flush() -> Iterator[Block]:
        if group:
            yield _make_block(group, headings, words)
            group.clear()

    for n, line in enumerate(page.lines):
        table = next((table for table in tables if _inside(line.box, table.box)), None)
        if table is not None:
            yield from flush()
            if table in waiting:
                waiting.remove(table)
                yield from (replace(block, text=mend_hyphens(block.text, words)) for block in table.blocks)
            continue
        if is_contents_line(line.text) or (_CHAPTER.fullmatch(line.text) and _heads(page.lines[n + 1 : n + 2], headings)):
            continue
        if group and _breaks(group, line, headings, _right_edge(group[-1], page), gap):
            yield from flush()
        group.append(line)
    yield from flush()


def _heads(lines: Sequence[Line], headings: dict[Line, int]) -> bool:
    return any(line in headings for line in lines)


def _inside(inner: Box, outer: Box) -> bool:
    middle = (inner.y0 + inner.y1) / 2
    return outer.y0 <= middle <= outer.y1 and outer.x0 - 2 <= (inner.x0 + inner.x1) / 2 <= outer.x1 + 2


def _right_edge(line: Line, page: Page) -> float:
    """Where the lines of this line's column end, but for a few that go on further."""
    ends = sorted(one.box.x1 for one in page.lines if one.box.x0 < line.box.x1 and one.box.x1 > line.box.x0)
    return ends[int(len(ends) * 0.9)] if ends else line.box.x1


def _usual_gap(page: Page) -> float:
    """Distance from one line's foot to the next one's, in font sizes, inside paragraphs."""
    gaps = [(b.box.y1 - a.box.y1) / b.size for a, b in pairwise(page.lines) if b.size]
    close = [gap for gap in gaps if 0.9 < gap < 1.8]
    return median(close) if len(close) > 4 else 1.3


def _breaks(group: Sequence[Line], line: Line, headings: dict[Line, int], right: float, gap: float) -> bool:
    """Whether the line begins a new block after the group of lines."""
    last = group[-1]
    if line.label or last.label:
        return True
    distance = (line.box.y1 - last.box.y1) / max(line.size, 1)
    width = right - min(one.box.x0 for one in group)
    # A full line that ends amid a sentence goes on below a wider gap, as above a line with a picture in it.
    goes_on = last.box.x1 > right - width * 0.06 and last.text[-1] not in ".!?:;" and line.text[0].islower()
    if headings.get(line) != headings.get(last) or distance > gap * (1.6 if goes_on else 1.3) or distance < -0.5:
        return True
    if line.text[0] in RAISED:
        return True  # the next note at the foot of the page
    if line in headings:
        return _NUMBERED.match(line.text) is not None or abs(line.size - last.size) > 0.5
    if abs(line.size - last.size) > max(line.size, last.size) * 0.15:
        return True
    if line.mono and last.mono:
        return False
    # A listing stands apart from the text around it; a line of a paragraph may be typewriter for the most part.
    indented = abs(line.box.x0 - last.box.x0) > line.size * 0.5 and last.text[-1] in ".:!?"
    if line.mono != last.mono and (indented or (distance > gap * 1.15 and last.text[-1] not in ",;")):
        return True
    if last.text.endswith(HYPHEN) or is_signal_word(last.text):
        return False
    outdented = line.box.x0 < min(one.box.x0 for one in group) - 2 * line.size
    if outdented and (last.text[-1] in ".!?" or _had_room(last, line, right)):
        return True  # the next term of a list, left of what the last one means
    # Below a numbered step, a line that starts as far left as the number and follows a full stop is no part of it.
    if text_block(group[0].text).kind == "step" and line.box.x0 <= group[0].box.x0 + 2 and last.text[-1] in ".!?":
        return True
    if _CODE.match(line.text) and _CODE.match(group[0].text):
        return True
    room = _had_room(last, line, right)
    short = last.box.x1 < right - width * 0.18 and (room or last.text[-1] in ".!?:")
    return starts_anew(last.text, line.text, short, room and text_block(group[0].text).kind == "paragraph")


def _had_room(last: Line, line: Line, right: float) -> bool:
    """Whether the line's first word would have fitted behind the last line: then the break is meant."""
    word = len(line.text.split(" ", 1)[0]) + 1
    return right - last.box.x1 > word * (last.box.x1 - last.box.x0) / len(last.text)


def _make_block(lines: Sequence[Line], headings: dict[Line, int], words: Counter[str]) -> Block:
    text = lines[0].text + (":" if len(lines) > 1 and re.fullmatch(r"(?i)notes?|tips?|hints?", lines[0].text) else "")
    for line in lines[1:]:
        text = f"{text}\n{line.text}" if line.mono else mend_lines(text, line.text, words)
    page, boxes = lines[0].box.page, (around([line.box for line in lines]),)
    text = text.replace(HYPHEN, "-")
    if lines[0] in headings:
        return Block("heading", re.sub(r"^[-–•]\s+", "", text).rstrip(" :："), headings[lines[0]], page, boxes)
    if all(line.mono for line in lines):
        return Block("code", _indent(lines).replace(HYPHEN, "-"), page=page, boxes=boxes)
    return replace(text_block(text, page), boxes=boxes)


def _indent(lines: Sequence[Line]) -> str:
    """The lines of a listing, each with the spaces that it is set in by."""
    left = min(line.box.x0 for line in lines)
    width = median((line.box.x1 - line.box.x0) / len(line.text) for line in lines)
    return "\n".join(" " * round((line.box.x0 - left) / max(width, 1)) + line.text for line in lines)


def _vocabulary(pages: Sequence[Page]) -> Counter[str]:
    return Counter(word for page in pages for line in page.lines for word in re.findall(r"\w+(?:-\w+)*", line.text.lower()))


def _title(metadata: Any, pages: Sequence[Page]) -> str:
    """The metadata's title where the first pages know its words, else the largest lines of the first page, else ""."""
    title = readable_title(str(metadata or ""))
    opening = " ".join(line.text for page in pages[:2] for line in page.lines).lower()
    named = re.findall(r"\w{2,}", title.lower())
    if named and sum(word in opening for word in named) * 2 >= len(named):
        return title
    first = pages[0].lines if pages else ()
    largest = max((line.size for line in first), default=0)
    lines = [line.text for line in first if line.size >= largest * 0.97][:3]
    usual = median(line.size for page in pages for line in page.lines) if first else 0
    return readable_title(" ".join(lines)) if largest > usual * 1.15 and len(" ".join(lines)) <= 120 else ""
