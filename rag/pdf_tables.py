"""Ruled tables of a PDF, through pdfplumber; only pages that have rules are opened, as it is slow."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

from emendo.records import Block, Box
from rag.outline import table_text


@dataclass(frozen=True)
class Table:
    """A table's block and where it stands."""

    block: Block
    box: Box


def find_tables(data: bytes, pages: Iterable[int]) -> dict[int, list[Table]]:
    """The tables of the given pages (1-based), top to bottom. A box of one column or one row is a frame, not a table."""
    numbers = list(pages)
    if not numbers:
        return {}
    import pdfplumber

    found: dict[int, list[Table]] = {}
    with pdfplumber.open(io.BytesIO(data), pages=numbers) as document:
        for page in document.pages:
            tables = [table for table in page.find_tables() if len(table.rows) > 1]
            made = [_make_table(page.page_number, table) for table in tables]
            found[page.page_number] = [table for table in made if table is not None]
            page.close()  # frees its layout, or memory grows with the document
    return found


def _make_table(number: int, table: object) -> Table | None:
    rows = [[(cell or "").replace("\n", " ") for cell in row] for row in table.extract()]  # type: ignore[attr-defined]
    text = table_text(rows)
    lines = text.split("\n")
    if len(lines) < 2 or " | " not in lines[0]:
        return None
    x0, top, x1, bottom = (round(float(edge), 1) for edge in table.bbox)  # type: ignore[attr-defined]
    box = Box(number, x0, top, x1, bottom)
    return Table(Block("table", text, page=number, boxes=(box,)), box)
