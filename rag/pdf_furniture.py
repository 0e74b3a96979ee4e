"""What a PDF's pages hold beside their text: running heads, page numbers, tables of contents, the index at the end."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from rag.outline import is_contents_title
from rag.pdf_lines import Line, Page

_PAGE_NUMBER = re.compile(
    r"^\W*(?:page\s*)?(?:\d{1,4}(?:\s*(?:of|/)\s*\d+)?|(?:\d{1,2}|[A-Z])\s*[-–]\s*\d{1,3}|[ivxl]{1,7})\W*$", re.IGNORECASE
)
_INDEX_ENTRY = re.compile(r"^([^\W\d].*?),?\s+\d{1,4}(?:\s*[,–-]\s*\d{1,4})*$")
_CONTENTS_ENTRY = re.compile(r"[\s.…](\d{1,4}|[ivxl]{1,7})$")
_MARGIN = 0.11  # of the page's height, top and bottom: where furniture stands
_OUTERMOST = 2  # rows at the top and at the foot that may be furniture wherever they stand
_LARGER = 1.12  # times the size of most text: a heading, no running head


def drop_furniture(pages: Sequence[Page]) -> list[Page]:
    """The pages without headers and footers, and without the entries of the table of contents and of the index.

    Furniture are lines at the edge whose beginning or end repeats at the same height, those in a row with the page's number,
    and all at the height where most are one of the two, as the running heads of short sections.
    """
    edges = [_edge_lines(page) for page in pages]
    small = _usual_size(pages) * _LARGER
    drop = _repeated(len(pages), edges, small) | {line for line in _numbered(pages, edges) if line.size < small}
    drop |= {line for line in _running_heads(edges, drop) if line.size < small}
    kept = []
    contents = False  # whether the page before was one of the table of contents
    for page, lines in zip(pages, edges, strict=True):
        beside = [line for line in lines if line in drop]
        rest = [line for line in page.lines if line not in drop and not any(_in_row(line, one) for one in beside)]
        entries = _contents_lines(rest, len(pages), contents)
        contents = bool(entries)
        gone = set(entries or _index_lines(rest))
        kept.append(replace(page, lines=tuple(line for line in rest if line not in gone)))
    return kept


def _edge_lines(page: Page) -> dict[Line, bool]:
    """The lines in the margins (True), and the outermost rows wherever they stand (False)."""
    tops = sorted({line.box.y0 for line in page.lines})
    rows = [y for n, y in enumerate(tops) if not n or y - tops[n - 1] > 3]
    above, below = (rows[_OUTERMOST], rows[-_OUTERMOST]) if len(rows) > 2 * _OUTERMOST else (0.0, page.height)
    top, foot = page.height * _MARGIN, page.height * (1 - _MARGIN)
    found = {line: line.box.y1 < top or line.box.y0 > foot for line in page.lines}
    return {line: margin for line, margin in found.items() if margin or line.box.y0 < above or line.box.y0 >= below}


def _repeated(pages: int, edges: Sequence[dict[Line, bool]], small: float) -> set[Line]:
    """Page numbers in the margins, and lines that stand at the same height of many pages."""
    keys = {line: set(_furniture_keys(line, margin, small)) for lines in edges for line, margin in lines.items()}
    seen = Counter(key for lines in edges for key in {key for line in lines for key in keys[line]})
    least = max(3, min(6, pages * 0.15))
    numbers = {line for lines in edges for line, margin in lines.items() if margin and _PAGE_NUMBER.match(line.text)}
    return numbers | {line for line in keys if any(seen[key] >= least for key in keys[line])}


def _furniture_keys(line: Line, margin: bool, small: float) -> Iterator[tuple[int, str]]:
    if line.size >= small:  # "New in 2.1" and "New in 2.2" are headings
        yield round(line.box.y0 / 4), line.text
        return
    # Chapter titles change in running heads, and left and right pages differ: in the margins a few words are enough.
    words = re.sub(r"\d+|\b[ivxl]+\b", "#", line.text.lower()).split()
    height = round(line.box.y0 / 4)
    for part in {" ".join(words[:3]), " ".join(words[-3:])} if margin else {" ".join(words)}:
        yield height, part
        yield height + 1, part


def _numbered(pages: Sequence[Page], edges: Sequence[dict[Line, bool]]) -> set[Line]:
    """Lines in the margins that begin or end with their page's number, where half of the pages have one: 3.1 Setup 17."""
    found = [
        (page.number - int(number), line)
        for page, lines in zip(pages, edges, strict=True)
        for line, margin in lines.items()
        if margin
        for number in re.findall(r"^\d{1,4}(?=\s)|(?<=\s)\d{1,4}$|^\d{1,4}$", line.text)
    ]
    shift, count = Counter(shift for shift, _ in found).most_common(1)[0] if found else (0, 0)
    return {line for one, line in found if one == shift} if count >= max(4, len(pages) / 2) else set()


def _running_heads(edges: Sequence[dict[Line, bool]], known: set[Line]) -> set[Line]:
    """All lines at the heights where most lines are known furniture."""
    at: dict[int, list[Line]] = defaultdict(list)
    for edge in edges:
        for line in edge:
            at[round(line.box.y0)].append(line)
    found = set()
    for height, lines in at.items():
        near = [*at.get(height - 1, []), *lines, *at.get(height + 1, [])]
        if len(near) > 3 and sum(line in known for line in near) > len(near) / 2:
            found |= set(lines)
    return found


def _usual_size(pages: Sequence[Page]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            sizes[line.size] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _in_row(line: Line, other: Line) -> bool:
    """Whether the line stands beside the other one, and is no larger."""
    return abs(line.box.y1 - other.box.y1) < 2 and line.size < other.size * _LARGER


def _contents_lines(lines: Sequence[Line], pages: int, goes_on: bool) -> Sequence[Line]:
    """The lines of a table of contents: most of the page ends in page numbers that never fall. An entry may have two lines.

    `goes_on`: the page before was one, so that a few entries are enough.
    """
    ends = [(n, match[1]) for n, line in enumerate(lines) if (match := _CONTENTS_ENTRY.search(line.text))]
    entries = [(n, int(end) if end.isdigit() else 0) for n, end in ends]
    entries = [(n, number) for n, number in entries if number <= pages]
    rising = sum(a[1] <= b[1] for a, b in pairwise(entries))
    few = 1 if goes_on else 6
    if len(entries) < few or len(entries) < 0.6 * len(lines) or rising < 0.9 * (len(entries) - 1):
        return []
    first, last = entries[0][0], entries[-1][0]
    titled = [line for line in lines[:first] if is_contents_title(line.text)]
    return [*titled, *lines[first : last + 1]]


def _index_lines(lines: Sequence[Line]) -> Sequence[Line]:
    """All lines of a page of the index: most end in page numbers and begin in the order of the alphabet."""
    entries = [match[1].lower() for line in lines if (match := _INDEX_ENTRY.match(line.text))]
    rising = sum(a[0] <= b[0] for a, b in pairwise(entries))
    names = {entry.split()[0] for entry in entries}
    if len(names) < 10 or len(entries) < 0.6 * len(lines) or rising < 0.8 * (len(entries) - 1):
        return []
    return lines
