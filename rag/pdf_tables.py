"""Ruled tables of a PDF, through pdfplumber; only pages that have rules are opened, as it is slow."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce

from emendo.records import Block, Box
from rag.outline import join_lines, table_text


@dataclass(frozen=True)
class Table:
    """A table's block and where it stands."""

    block: Block
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
            tables = [table for table in page.find_tables() if len(table.rows) > 1]
            made = [_make_table(page.page_number, table) for table in tables]
            found[page.page_number] = [table for table in made if table is not None]
            page.close()  # frees its layout, or memory grows with the document
    return found


def _make_table(number: int, table: object) -> Table | None:
    rows = [[reduce(join_lines, (cell or "").split("\n")) for cell in row] for row in table.extract()]  # type: ignore[attr-defined]
    text = table_text(rows)
    filled = [sum(bool(cell.strip()) for cell in row) for row in rows]
    if sum(cells > 1 for cells in filled) < 2:  # a frame, or the labels of a drawing
        return None
    x0, top, x1, bottom = (round(float(edge), 1) for edge in table.bbox)  # type: ignore[attr-defined]
    box = Box(number, x0, top, x1, bottom)
    return Table(Block("table", text, page=number, boxes=(box,)), box)
