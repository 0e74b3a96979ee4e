"""What a PDF's pages hold beside their text: running heads, page numbers, tables of contents, the index at the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from rag.outline import is_contents_title
from rag.pdf_lines import Line, Page

_PAGE_NUMBER = re.compile(r"^\W*(?:page\s*)?\d{1,4}(?:\s*(?:of|/)\s*\d+)?\W*$", re.IGNORECASE)
_INDEX_ENTRY = re.compile(r"^([^\W\d].*?),?\s+\d{1,4}(?:\s*[,–-]\s*\d{1,4})*$")
_MARGIN = 0.11  # of the page's height, top and bottom: where furniture stands


def drop_furniture(pages: Sequence[Page]) -> list[Page]:
    """The pages without headers and footers: lines in the margins whose beginning or end repeats at the same height."""
    seen: Counter[tuple[int, str]] = Counter()
    for page in pages:
        seen.update({key for line in _in_margins(page) for key in _furniture_keys(line)})
    least = max(3, min(6, len(pages) * 0.15))
    kept = []
    for page in pages:
        drop = set(_contents_lines(page, len(pages)) or _index_lines(page))
        for line in _in_margins(page):
            if _PAGE_NUMBER.match(line.text) or any(seen[key] >= least for key in _furniture_keys(line)):
                drop.add(line)
        kept.append(replace(page, lines=tuple(line for line in page.lines if line not in drop)))
    return kept


def _contents_lines(page: Page, pages: int) -> list[Line]:
    """The lines of a table of contents without leader dots: most of the page ends in page numbers that never fall."""
    ends = [(line, re.search(r"\s(\d{1,4})$", line.text)) for line in page.lines]
    entries = [(line, int(match[1])) for line, match in ends if match and int(match[1]) <= pages]
    rising = sum(a[1] <= b[1] for a, b in pairwise(entries))
    if len(entries) < 6 or len(entries) < 0.6 * len(page.lines) or rising < 0.9 * (len(entries) - 1):
        return []
    return [line for line, _ in entries] + [line for line in page.lines if is_contents_title(line.text)]


def _index_lines(page: Page) -> Sequence[Line]:
    """All lines of a page of the index: most end in page numbers and begin in the order of the alphabet."""
    entries = [match[1].lower() for line in page.lines if (match := _INDEX_ENTRY.match(line.text))]
    rising = sum(a[0] <= b[0] for a, b in pairwise(entries))
    names = {entry.split()[0] for entry in entries}
    if len(names) < 10 or len(entries) < 0.6 * len(page.lines) or rising < 0.8 * (len(entries) - 1):
        return []
    return page.lines


def _in_margins(page: Page) -> list[Line]:
    return [line for line in page.lines if line.box.y1 < page.height * _MARGIN or line.box.y0 > page.height * (1 - _MARGIN)]


def _furniture_keys(line: Line) -> Iterator[tuple[int, str]]:
    # Chapter titles change in running heads, and left and right pages differ: the first or the last words are enough.
    words = re.sub(r"\d+|\b[ivxl]+\b", "#", line.text.lower()).split()
    height = round(line.box.y0 / 4)
    for part in {" ".join(words[:3]), " ".join(words[-3:])}:
        yield height, part
        yield height + 1, part
