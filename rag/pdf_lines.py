"""PDF -> lines of text with place, size and weight, through pypdfium2 (not thread-safe: one process, one document at a time)."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from emendo.records import Box, UserError
from rag.outline import tidy


@dataclass(frozen=True)
class Line:
    """One printed line. Coordinates are PDF points, origin at the top left of the page."""

    text: str
    box: Box
    size: float  # font size in points, as drawn
    bold: bool
    font: str = ""  # name of the font of most of its characters, in lower case

    @property
    def mono(self) -> bool:
        """Whether it is set in a typewriter font, as listings are."""
        return bool(re.search("courier|consol|mono|menlo|typewriter", self.font))


@dataclass(frozen=True)
class OutlineEntry:
    """One bookmark of the PDF's own outline."""

    title: str
    level: int  # 1 is the outermost
    page: int  # 1-based
    y: float | None  # points from the top of the page


@dataclass(frozen=True)
class Page:
    """One page's lines in the order of the file, which is nearly always the reading order."""

    number: int
    width: float
    height: float
    lines: tuple[Line, ...]
    rules: int  # straight lines and boxes drawn on it: a page without them has no ruled table
    images: int


def open_pdf(data: bytes, source: str) -> pdfium.PdfDocument:
    """The document. Raises UserError when it is protected by a password, damaged, no PDF at all, or has no pages."""
    if b"%PDF" not in data[:1024]:
        raise UserError(f"{source}: is not a PDF (no %PDF mark at its start). Give the file its right name, or export it anew.")
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise UserError(f"{source}: is protected by a password. Save a copy without it, then index that.") from error
        raise UserError(f"{source}: is damaged ({error}). Export or download the PDF anew.") from error
    if len(document) == 0:
        raise UserError(f"{source}: has no pages. Export or download the PDF anew.")
    return document


def read_pages(document: pdfium.PdfDocument) -> Iterator[Page]:
    """Every page in order; each is closed before the next is opened."""
    for index in range(len(document)):
        page = document[index]
        width, height = page.get_size()
        text_page = page.get_textpage()
        try:
            lines = tuple(_read_lines(text_page.raw, index + 1, height))
            yield Page(index + 1, width, height, lines, _count_rules(page), _count_images(page))
        finally:
            text_page.close()
            page.close()


def read_outline(document: pdfium.PdfDocument) -> list[OutlineEntry]:
    """The bookmarks that lead to a page, in order."""
    entries = []
    for bookmark in document.get_toc(max_depth=6):
        target = bookmark.get_dest()
        index = target.get_index() if target else None
        title = tidy(bookmark.get_title() or "")
        if index is None or not title:
            continue
        mode, view = target.get_view()
        height = document[index].get_height()
        y = height - view[1] if mode == raw.PDFDEST_VIEW_XYZ and len(view) > 1 and view[1] else None
        entries.append(OutlineEntry(title, bookmark.level + 1, index + 1, y))
    return entries


def _read_lines(page: Any, number: int, height: float) -> Iterator[Line]:
    start, text = 0, ""
    count = raw.FPDFText_CountChars(page)
    for index in range(count):
        code = raw.FPDFText_GetUnicode(page, index)
        if code in (2, 0xFFFE):  # a hyphen at the end of a line; pdfium goes on with the next line without a break
            yield from _make_line(page, number, height, start, index + 1, text + "\ufffe")
            start, text = index + 1, ""
        elif code in (10, 13):
            yield from _make_line(page, number, height, start, index, text)
            start, text = index + 1, ""
        else:
            text += chr(code) if code else ""
    yield from _make_line(page, number, height, start, count, text)


def _make_line(page: Any, number: int, height: float, start: int, end: int, text: str) -> Iterator[Line]:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # pdfium counts in UTF-16 units
    clean = tidy(text)  # may end in U+FFFE, the mark of a hyphen, which stays until lines are joined
    if not clean:
        return
    rectangle = _bounds(page, start, end - start)
    if rectangle is None:
        return
    left, top, right, bottom = rectangle
    sizes, weights, fonts = [], [], []
    for index in range(start, end, max(1, (end - start) // 12)):
        if raw.FPDFText_GetUnicode(page, index) in (32, 160):
            continue
        sizes.append(_drawn_size(page, index))
        weights.append(raw.FPDFText_GetFontWeight(page, index))
        fonts.append(_font_name(page, index))
    # Weights above 1000 are noise of printer drivers.
    bold = sum(600 <= w <= 1000 or "bold" in f or "black" in f or "heavy" in f for w, f in zip(weights, fonts, strict=True))
    font = max(set(fonts), key=fonts.count) if fonts else ""
    box = Box(number, round(left, 1), round(height - top, 1), round(right, 1), round(height - bottom, 1))
    yield Line(clean, box, round(median(sizes), 1) if sizes else 0.0, bold * 2 > len(fonts), font)


def _bounds(page: Any, start: int, count: int) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom around the characters (y upwards); None when nothing of them is drawn."""
    edges: list[tuple[float, float, float, float]] = []
    values = [ctypes.c_double() for _ in range(4)]
    for n in range(raw.FPDFText_CountRects(page, start, count)):
        if raw.FPDFText_GetRect(page, n, *values):
            left, top, right, bottom = (value.value for value in values)
            edges.append((left, top, right, bottom))
    if not edges:
        return None
    return min(e[0] for e in edges), max(e[1] for e in edges), max(e[2] for e in edges), min(e[3] for e in edges)


def _drawn_size(page: Any, index: int) -> float:
    """The font size times the scale of its matrix: some printers write everything in size 1 and scale it."""
    matrix = raw.FS_MATRIX()
    size = raw.FPDFText_GetFontSize(page, index)
    if raw.FPDFText_GetMatrix(page, index, matrix):
        size *= (matrix.c**2 + matrix.d**2) ** 0.5
    return size


def _font_name(page: Any, index: int) -> str:
    buffer = ctypes.create_string_buffer(128)
    flags = ctypes.c_int()
    raw.FPDFText_GetFontInfo(page, index, buffer, len(buffer), flags)
    return buffer.value.decode("utf-8", "replace").lower()


def _count_images(page: pdfium.PdfPage) -> int:
    return sum(1 for _ in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4))


def _count_rules(page: pdfium.PdfPage) -> int:
    """How many drawn paths are straight: as wide or as high as a hair, or boxes of the size of a table cell."""
    rules = 0
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=4):
        left, bottom, right, top = item.get_bounds()
        thin = min(right - left, top - bottom) < 3 and max(right - left, top - bottom) > 20
        cell = right - left > 15 and 8 < top - bottom < 200
        rules += thin or cell
    return rules
