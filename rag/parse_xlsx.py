"""XLSX -> blocks: a sheet is a section, its rows are tables (split at empty rows), comments follow as notes."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Iterator
from typing import Any

from lxml import etree
from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from emendo.records import Block, UserError
from rag.manual_files import check_office_file
from rag.outline import Reading, readable_title, table_text, text_block, tidy

Row = dict[int, str]  # column number -> text


def read(data: bytes, source: str) -> Reading:
    """The reading of an Excel file: values as they were last computed; hidden sheets are left out."""
    check_office_file(data, source)
    try:
        book = load_workbook(io.BytesIO(data), data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, TypeError, etree.XMLSyntaxError, OSError) as error:
        raise UserError(f"{source}: is not a readable .xlsx ({error}). Save it anew in Excel or LibreOffice.") from error
    blocks: list[Block] = []
    for sheet in book.worksheets:
        if sheet.sheet_state == "visible":
            blocks += [Block("heading", tidy(sheet.title), 1), *_sheet_blocks(sheet)]
    return Reading(tuple(blocks), readable_title(book.properties.title or ""))


def _sheet_blocks(sheet: Any) -> Iterator[Block]:
    rows, notes = _read_cells(sheet)
    region: list[Row] = []
    for number in sorted(rows):
        if region and number - 1 not in rows:  # an empty row ends a table
            yield from _region_blocks(region)
            region = []
        region.append(rows[number])
    yield from _region_blocks(region)
    yield from notes


def _read_cells(sheet: Any) -> tuple[dict[int, Row], list[Block]]:
    """Row number -> its filled cells, and the comments.

    Only cells that exist are looked at: one stray cell in the last row would otherwise cost a million empty rows.
    """
    rows: dict[int, Row] = {}
    notes = []
    for (row, column), cell in sorted(sheet._cells.items()):
        text = _cell_text(cell)
        if text:
            rows.setdefault(row, {})[column] = text
        if getattr(cell, "comment", None):
            label = text or cell.coordinate
            notes.append(text_block(f"{label}: {cell.comment.text}"))
    for merged in sheet.merged_cells.ranges:  # a cell merged over rows stands in each, so that every row says all
        text = rows.get(merged.min_row, {}).get(merged.min_col, "")
        for below in range(merged.min_row + 1, merged.max_row + 1) if text else ():
            if below in rows:
                rows[below][merged.min_col] = text
    return rows, notes


def _cell_text(cell: Any) -> str:
    """The value as the sheet shows it, for the formats that change its meaning: per cent and dates."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ", "minutes")
    if isinstance(value, int | float):
        if "%" in cell.number_format:
            return f"{value * 100:.10g} %"
        return str(int(value)) if value == int(value) else f"{value:.10g}"
    return tidy(str(value))


def _region_blocks(rows: list[Row]) -> Iterator[Block]:
    """Rows without a gap as blocks: single cells above and below as text, the rows between as one table."""
    start, end = 0, len(rows)
    while start < end and len(rows[start]) == 1:
        start += 1
    while end > start and len(rows[end - 1]) == 1:
        end -= 1
    yield from (text_block(text) for row in rows[:start] for text in row.values())
    if end > start:
        columns = sorted({column for row in rows[start:end] for column in row})
        yield Block("table", table_text([[row.get(column, "") for column in columns] for row in rows[start:end]]))
    yield from (text_block(text) for row in rows[end:] for text in row.values())
