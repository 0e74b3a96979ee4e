"""Tables without rules: cells that stand in columns, found by their places alone.

Rows are read in the order of the file, which writes a table cell by cell, so that two columns of prose are none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import reduce
from itertools import chain

from emendo.records import Block, Box
from rag.outline import join_lines, text_block
from rag.pdf_lines import Line, around
from rag.pdf_tables import Table, row_blocks

_MOST_LINES = 12  # of a cell; longer ones are columns of prose
_ROW_GAP = 4.0  # font sizes between two rows
_MARKER = re.compile(r"\(?\w{1,2}[.):]?|[^\w\s]{1,3}")  # what stands before an item of a list
_HEADER_WORDS = 4  # in a cell of a header row that is not bold
_LEGEND = re.compile(r"\(?(?:\d{1,2}|[A-Z])[.):]?\s+\S")
Cell = list[Line]
Row = list[Cell]


def find_columns(lines: Sequence[Line], headings: Collection[Line]) -> list[Table]:
    """The tables among a page's lines, as one block each; without a header row every row is a block of its own."""
    parts = list(chain.from_iterable(line.pieces or (line,) for line in lines))
    stops = {part for line in lines if line in headings for part in line.pieces or (line,)}
    tables = []
    for rows in _runs(_rows(parts, stops), parts):
        box = around([line.box for cell in chain.from_iterable(rows) for line in cell])
        inside = sum(len(cell) for row in rows for cell in row)
        if _is_table(rows) and inside == sum(_holds(box, part.box) for part in parts):
            tables.append(Table(_make_blocks(rows), box))
    return tables


def _rows(parts: Sequence[Line], stops: Collection[Line]) -> list[tuple[int, int, Row]]:
    """Rows of two cells or more with the part they begin at and the one after them."""
    rows: list[tuple[int, int, Row]] = []
    n = free = 0
    while n < len(parts) - 1:
        if parts[n] in stops or parts[n + 1] in stops or not _beside([parts[n]], parts[n + 1]):
            n += 1
            continue
        begin = n
        right = parts[n + 1].box
        while begin > free and _stacked(parts[begin - 1], parts[begin]) and parts[begin - 1].box.x1 < right.x0:
            if parts[begin - 1].box.y0 < right.y0 - 0.5 * parts[n + 1].size:
                break
            begin -= 1
        row: Row = [list(parts[begin : n + 1]), [parts[n + 1]]]
        n += 2
        while n < len(parts) and parts[n] not in stops:
            if _beside(row[-1], parts[n]):
                row.append([parts[n]])
            elif _stacked(row[-1][-1], parts[n]):
                row[-1].append(parts[n])
            else:
                break
            n += 1
        rows.append((begin, n, row))
        free = n
    return rows


def _beside(cell: Cell, part: Line) -> bool:
    """Whether the part begins the cell to the right, no lower than this one ends."""
    box = around([line.box for line in cell])
    level = part.box.y0 < box.y1 - 0.3 * part.size and part.box.y1 > box.y0 - 6 * part.size
    return level and part.box.x0 > max(line.box.x1 for line in cell) + 0.5 * part.size


def _stacked(above: Line, below: Line) -> bool:
    """Whether two parts are lines of one cell."""
    near = -0.3 * above.size < below.box.y0 - above.box.y1 < 0.75 * above.size
    return near and below.box.x0 > above.box.x0 - 0.5 * above.size and below.box.x0 < above.box.x1 and above.bold == below.bold


def _runs(rows: Sequence[tuple[int, int, Row]], parts: Sequence[Line]) -> list[list[Row]]:
    """Rows that follow one another and share their columns."""
    runs: list[list[Row]] = []
    end = -1
    for begin, after, row in rows:
        last = runs[-1][-1] if runs else None
        if last is not None and begin == end + 1 and len(last) > 2 and parts[end].size == row[0][0].size:
            between: Row = [[parts[end]]]  # a line that heads the rows below it
            if _follows(last, between) and _follows(between, row) and _aligned(runs[-1], row):
                runs[-1] += [between, row]
                end = after
                continue
        if last is not None and begin == end and _follows(last, row) and _aligned(runs[-1], row):
            runs[-1].append(row)
        else:
            runs.append([row])
        end = after
    return runs


def _follows(row: Row, after: Row) -> bool:
    foot = max(line.box.y1 for cell in row for line in cell)
    top = min(line.box.y0 for cell in after for line in cell)
    return -0.3 * after[0][0].size < top - foot < _ROW_GAP * after[0][0].size


def _aligned(rows: Sequence[Row], row: Row) -> bool:
    """Whether the row's cells stand in the columns of the rows before, two of them at the same edge or middle."""
    shared = 0
    for cell in row:
        box = around([line.box for line in cell])
        near = [around([line.box for line in other]) for before in rows[-3:] for other in before]
        edges = [abs(a - b) < 3 for other in near for a, b in zip(_edges(box), _edges(other), strict=True)]
        shared += any(edges)
    columns = _columns([*rows, row])
    return shared >= 2 and len(columns) >= max(len(one) for one in (*rows, row))


def _edges(box: Box) -> tuple[float, float, float]:
    return box.x0, box.x1, (box.x0 + box.x1) / 2


def _columns(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """The left and right edges of the columns: cells that overlap are in one."""
    spans = sorted((min(line.box.x0 for line in cell), max(line.box.x1 for line in cell)) for row in rows for cell in row)
    found: list[tuple[float, float]] = []
    for left, right in spans:
        if found and left < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], right))
        else:
            found.append((left, right))
    return found


def _is_table(rows: Sequence[Row]) -> bool:
    columns = len(_columns(rows))
    if len(rows) < (2 if columns > 2 else 3) or columns < 2:
        return False
    lines = [line for row in rows for cell in row for line in cell]
    if sum(line.mono for line in lines) > len(lines) / 2 or max(len(cell) for row in rows for cell in row) > _MOST_LINES:
        return False
    first = [row[0][0].text for row in rows]
    marked = [bool(_MARKER.fullmatch(text)) or text_block(f"{text} x").kind in ("step", "list_item") for text in first]
    return sum(marked) <= len(rows) / 2


def _holds(outer: Box, inner: Box) -> bool:
    x, y = (inner.x0 + inner.x1) / 2, (inner.y0 + inner.y1) / 2
    return outer.x0 <= x <= outer.x1 and outer.y0 <= y <= outer.y1


def _make_blocks(rows: Sequence[Row]) -> tuple[Block, ...]:
    columns = _columns(rows)
    texts = [[""] * len(columns) for _ in rows]
    items = []
    for row, cells in zip(rows, texts, strict=True):
        for cell in row:
            column = next(n for n, (left, right) in enumerate(columns) if left <= cell[0].box.x0 <= right)
            text = reduce(join_lines, (line.text for line in cell))
            cells[column] = f"{cells[column]} {text}".strip()
            box = around([line.box for line in cell])
            items.append((column, Block("paragraph", text, page=box.page, boxes=(box,))))
    if all(_LEGEND.match(item.text) for _, item in items):  # numbered names in columns, as under a figure
        return tuple(item for _, item in sorted(items, key=lambda item: item[0]))
    boxes = [around([line.box for cell in row for line in cell]) for row in rows]
    bold = all(line.bold for cell in rows[0] for line in cell)
    names = len(columns) > 2 and not any(re.search(r"\d|[.!:]$", cell) or len(cell.split()) > _HEADER_WORDS for cell in texts[0])
    return row_blocks(texts, boxes, around(boxes), bold or names, " ")
