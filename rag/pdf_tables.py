"""Ruled tables of a PDF, through pdfplumber; only pages that have rules are opened, as it is slow."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from typing import Any

from emendo.records import Block, Box
from rag.outline import join_lines, table_text, tidy

_HEADER_WORDS = 6  # more in its last cell, and a first row says something itself
_SPACE = 0.15  # of the font size; wider gaps part words
Edges = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Table:
    """A table's blocks and where it stands: one block, or one for each row where it has no header row."""

    blocks: tuple[Block, ...]
    box: Box


def find_tables(data: bytes, pages: Iterable[int]) -> dict[int, list[Table]]:
    """The tables of the given pages (1-based), top to bottom. Two rows at least have two cells or more.

    A page that pdfplumber gives up on, and those after it, are missing from the result.
    """
    numbers = list(pages)
    if not numbers:
        return {}
    import pdfplumber

    found: dict[int, list[Table]] = {}
    # pdfplumber is stricter than what read the text: where it gives up, the text goes without tables.
    with suppress(Exception), pdfplumber.open(io.BytesIO(data), pages=numbers) as document:
        for page in document.pages:
            tables = [table for table in page.find_tables({"explicit_vertical_lines": _open_sides(page)}) if len(table.rows) > 1]
            made = [_make_table(page.page_number, table, page) for table in tables]
            found[page.page_number] = [table for table in made if table is not None]
            page.close()  # frees its layout, or memory grows with the document
    return found


def _open_sides(page: Any) -> list[dict[str, Any]]:
    """Lines for the left and right sides that a table's rules leave open, beside every row that has a rule inside."""
    from pdfplumber.table import merge_edges

    edges = merge_edges([*page.horizontal_edges, *page.vertical_edges], 3, 3, 3, 3)  # pdfplumber's own tolerances
    down = [edge for edge in edges if edge["orientation"] == "v"]
    across = sorted((edge for edge in edges if edge["orientation"] == "h"), key=lambda edge: edge["top"])
    sides = []
    for n, upper in enumerate(across):
        lower = next((one for one in across[n + 1 :] if _same_ends(upper, one)), None)
        if lower is None:
            continue
        top, bottom = upper["top"], lower["top"]
        inside = [one["x0"] for one in down if one["top"] < top + 3 and one["bottom"] > bottom - 3]
        for x in (upper["x0"], upper["x1"]):
            between = any(upper["x0"] + 3 < one < upper["x1"] - 3 for one in inside)
            if between and not any(abs(one - x) <= 3 for one in inside):
                sides.append(
                    {"object_type": "line", "x0": x, "x1": x, "top": top, "bottom": bottom, "width": 0, "height": bottom - top}
                )
    return sides


def _same_ends(upper: dict[str, Any], lower: dict[str, Any]) -> bool:
    return all(abs(upper[end] - lower[end]) < 3 for end in ("x0", "x1")) and lower["top"] - upper["top"] > 3


def _make_table(number: int, table: Any, page: Any) -> Table | None:
    cells = [[_one_line(cell) for cell in row] for row in table.extract(x_tolerance_ratio=_SPACE)]
    if sum(sum(bool(cell) for cell in row) > 1 for row in cells) < 2:  # a frame, or the labels of a drawing
        return None
    boxes = [_box(number, row.bbox) for row in table.rows]
    width = max(map(len, cells))
    grid: list[list[Edges | None]] = [[*row.cells, *[None] * (width - len(row.cells))] for row in table.rows]
    rows = _fill_down([row + [""] * (width - len(row)) for row in cells], grid)
    if _two_headers(rows, grid):
        rows[1] = _join_headers(rows[0], rows[1], grid[0])
        rows, boxes = rows[1:], boxes[1:]
    left, top, right, bottom = table.rows[0].bbox
    first = [char for char in page.chars if left <= char["x0"] <= right and top <= (char["top"] + char["bottom"]) / 2 <= bottom]
    fonts = {char["fontname"].lower() for char in first if char["text"].strip()}
    bold = bool(fonts) and all(re.search("bold|black|heavy", font) for font in fonts)
    value = rows[0][-1]
    header = bold or not (re.search(r"\d|[.!]$", value) or len(value.split()) > _HEADER_WORDS)
    box = _box(number, table.bbox)
    return Table(row_blocks(rows, boxes, box, header or width > 2, ": "), box)


def row_blocks(rows: Sequence[Sequence[str]], boxes: Sequence[Box], box: Box, header: bool, between: str) -> tuple[Block, ...]:
    """A table as one block; without a header row as a block for each row, its cells joined by `between`."""
    if header:
        return (Block("table", table_text(rows), page=box.page, boxes=(box,)),)
    texts = [tidy(between.join(filter(None, row))).replace("::", ":") for row in rows]
    return tuple(Block("paragraph", text, page=box.page, boxes=(at,)) for text, at in zip(texts, boxes, strict=True) if text)


def _one_line(cell: str | None) -> str:
    return reduce(join_lines, (cell or "").split("\n")).strip()


def _box(number: int, edges: Edges) -> Box:
    x0, top, x1, bottom = (round(float(edge), 1) for edge in edges)
    return Box(number, x0, top, x1, bottom)


def _fill_down(rows: list[list[str]], grid: Sequence[Sequence[Edges | None]]) -> list[list[str]]:
    """The rows, with the text of a cell that is several rows high in each of them."""
    for n, row in enumerate(rows[1:], 1):
        top = min((edges[1] for edges in grid[n] if edges), default=float("inf"))
        for column, own in enumerate(grid[n]):
            above = next((m for m in range(n - 1, -1, -1) if grid[m][column]), None)
            if own is None and above is not None and grid[above][column][3] > top + 1:  # type: ignore[index]
                row[column] = rows[above][column]
    return rows


def _two_headers(rows: Sequence[Sequence[str]], grid: Sequence[Sequence[Edges | None]]) -> bool:
    """Whether the first row has a cell over several columns that the second row names one by one."""
    if len(rows) < 3 or grid[0][0] is None:
        return False
    wide = [n for n in range(1, len(grid[0])) if grid[0][n] is None and grid[1][n] is not None]
    return bool(wide) and all(rows[1][n] for n in wide) and (grid[1][0] is None or not rows[1][0])


def _join_headers(first: Sequence[str], second: Sequence[str], edges: Sequence[Edges | None]) -> list[str]:
    over, joined = "", []
    for top, below, own in zip(first, second, edges, strict=True):
        over = top if own is not None else over
        joined.append(below if below == over else " ".join(filter(None, (over, below))))
    return joined
