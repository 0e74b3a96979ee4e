"""PDF -> lines of text with place, size and weight, through pypdfium2 (not thread-safe: one process, one document at a time)."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from emendo.records import Box, UserError
from rag.outline import tidy
from rag.pdf_chars import char_box, compose_accents, drawn_size, font_name, is_bold, part_marks, raise_digits, row_starts

_FILLS = 0.6  # of the page: a background, no figure
_WIDE_GAP = 0.9  # of the font size; spaces of justified text are narrower
_A4 = (595.0, 842.0)  # points
_TALL = 1.6  # font sizes; a higher line is several
_MONO = re.compile(r"courier|consol|mono(?!type)|nimbusmon|menlo|monaco|typewriter|letter ?gothic|cm(?:sl|i)?tt|sftt|ectt|xb?tt")
HYPHEN = "\ufffe"  # pdfium's mark of a hyphen at the end of a line, kept there until lines are joined


@dataclass(frozen=True)
class Line:
    """One printed line. Coordinates are PDF points, origin at the top left of the page."""

    text: str
    box: Box
    size: float  # font size in points, as drawn
    bold: bool
    font: str = ""  # name of the font of most of its characters, in lower case
    pieces: tuple[Line, ...] = ()  # what stands between wide gaps, left to right; () where there is none
    label: bool = False  # gathered from the labels of a picture

    @property
    def mono(self) -> bool:
        """Whether it is set in a typewriter font, as listings are."""
        return bool(_MONO.search(self.font))


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
    grid: bool  # whether a ruled table may stand on it
    images: int
    pictures: tuple[Box, ...] = ()  # where images stand, but for those that fill the page
    damaged: bool = False  # it could not be opened


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds the boxes."""
    return Box(
        boxes[0].page, min(b.x0 for b in boxes), min(b.y0 for b in boxes), max(b.x1 for b in boxes), max(b.y1 for b in boxes)
    )


def open_pdf(data: bytes, source: str) -> pdfium.PdfDocument:
    """The document. Raises UserError when it is protected by a password, damaged, no PDF at all, or has no pages."""
    if b"%PDF" not in data[:1024]:
        raise UserError(f"{source}: is not a PDF (no %PDF mark at its start). Give the file its right name, or export it anew.")
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        # pdfium may repeat the error of the document before, so the file itself must be encrypted too.
        if "password" in str(error).lower() and b"/Encrypt" in data:
            raise UserError(f"{source}: is protected by a password. Save a copy without it, then index that.") from error
        raise UserError(f"{source}: is damaged or has no pages. Export or download the PDF anew.") from error
    if len(document) == 0:
        raise UserError(f"{source}: has no pages. Export or download the PDF anew.")
    return document


def read_pages(document: pdfium.PdfDocument) -> Iterator[Page]:
    """Every page in order; each is closed before the next is opened. One that cannot be opened is empty."""
    for index in range(len(document)):
        try:
            page = document[index]
        except pdfium.PdfiumError:
            yield Page(index + 1, *_A4, (), False, 0, damaged=True)
            continue
        text_page = page.get_textpage()
        try:
            reader = _PageReader(page, text_page.raw, index + 1)
            yield Page(
                index + 1,
                reader.width,
                reader.height,
                tuple(reader.lines()),
                _has_grid(page),
                _count_images(page),
                reader.pictures(),
            )
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
        try:
            height = document[index].get_height()
        except pdfium.PdfiumError:
            continue
        y = height - view[1] if mode == raw.PDFDEST_VIEW_XYZ and len(view) > 1 and view[1] else None
        entries.append(OutlineEntry(title, bookmark.level + 1, index + 1, y))
    return entries


class _PageReader:
    """The lines of one open page."""

    def __init__(self, page: pdfium.PdfPage, text_page: Any, number: int) -> None:
        self.page = page
        self.text_page = text_page
        self.number = number
        self.width, self.height = page.get_size()

    def lines(self) -> Iterator[Line]:
        start, text = 0, ""
        count = raw.FPDFText_CountChars(self.text_page)
        for index in range(count):
            code = raw.FPDFText_GetUnicode(self.text_page, index)
            if code in (2, 0xFFFE):  # a hyphen at the end of a line; pdfium goes on with the next line without a break
                yield from self._line(start, index + 1, text + HYPHEN)
                start, text = index + 1, ""
            elif code in (10, 13):
                yield from self._line(start, index, text)
                start, text = index + 1, ""
            else:
                text += chr(code)  # one for each index
        yield from self._line(start, count, text)

    def pictures(self) -> tuple[Box, ...]:
        found = []
        for item in self.page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=1):
            left, bottom, right, top = item.get_bounds()
            box = self._box_of([self._shown(left, top), self._shown(right, bottom)])
            if (box.x1 - box.x0) * (box.y1 - box.y0) < _FILLS * self.width * self.height:
                found.append(box)
        return tuple(found)

    def _line(self, start: int, end: int, text: str) -> Iterator[Line]:
        """The line of the characters [start, end), unless nothing of it is drawn."""
        text = compose_accents(self.text_page, start, text)
        line = self._part(start, end, text)
        if line is None:
            return
        text = raise_digits(self.text_page, start, text, line.size)
        line = replace(line, text=_tidy(text))
        tall = 0 < _TALL * line.size < line.box.y1 - line.box.y0
        rows = [0, *(row_starts(self.text_page, start, text, line.size) if tall else ()), len(text)]
        if len(rows) > 2:
            for a, b in pairwise(rows):
                yield from self._line(start + a, start + b, text[a:b])
            return
        cuts = [0, *self._gaps(start, text, line.size), len(text)]
        if len(cuts) > 2:
            parts = [self._part(start + a, start + b, text[a:b]) for a, b in pairwise(cuts)]
            line = replace(line, pieces=tuple(part for part in parts if part is not None))
        yield line

    def _gaps(self, start: int, text: str, size: float) -> list[int]:
        """Where in the text a space is so wide that a cell of a table may begin after it."""
        return [
            space.end()
            for space in re.finditer(r"(?<=[^ \xa0])[ \xa0]+(?=[^ \xa0])", text)
            if self._apart(start + space.start() - 1, start + space.end()) > size * _WIDE_GAP
        ]

    def _apart(self, before: int, after: int) -> float:
        """Points between the boxes of two characters, however the page is turned; negative where they overlap."""
        left, right, bottom, top = char_box(self.text_page, before)
        left2, right2, bottom2, top2 = char_box(self.text_page, after)
        return max(left2 - right, left - right2, bottom2 - top, bottom - top2)

    def _part(self, start: int, end: int, text: str) -> Line | None:
        """The characters [start, end) as a line; None when nothing of them is drawn."""
        text = _tidy(text)
        box = self._box(start, end - start) if text else None
        if box is None:
            return None
        sizes, bold, fonts = [], 0, []
        for index in range(start, end, max(1, (end - start) // 12)):
            if raw.FPDFText_GetUnicode(self.text_page, index) not in (32, 160):
                sizes.append(drawn_size(self.text_page, index))
                fonts.append(font_name(self.text_page, index))
                bold += is_bold(self.text_page, index, fonts[-1])
        font = max(fonts, key=fonts.count, default="")  # of as many, the first: a set would choose anew in each run
        return Line(text, box, round(median(sizes), 1) if sizes else 0.0, bold * 2 > len(fonts), font)

    def _box(self, start: int, count: int) -> Box | None:
        """Around the characters, as the page is shown: turned and cropped. None when nothing of them is drawn."""
        corners: list[tuple[float, float]] = []
        values = [ctypes.c_double() for _ in range(4)]
        for n in range(raw.FPDFText_CountRects(self.text_page, start, count)):
            if raw.FPDFText_GetRect(self.text_page, n, *values):
                left, top, right, bottom = (value.value for value in values)
                corners += [self._shown(left, top), self._shown(right, bottom)]
        return self._box_of(corners) if corners else None

    def _box_of(self, corners: Sequence[tuple[float, float]]) -> Box:
        xs, ys = zip(*corners, strict=True)
        return Box(self.number, *(round(edge, 1) for edge in (min(xs), min(ys), max(xs), max(ys))))

    def _shown(self, x: float, y: float) -> tuple[float, float]:
        """A point of the page's own space in points from the top left of what is shown."""
        scale = 100  # pdfium gives whole device units
        across, down = ctypes.c_int(), ctypes.c_int()
        size = (round(self.width * scale), round(self.height * scale))
        raw.FPDF_PageToDevice(self.page.raw, 0, 0, *size, 0, x, y, across, down)
        return across.value / scale, down.value / scale


def _tidy(text: str) -> str:
    return part_marks(tidy(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")))  # pdfium counts in UTF-16 units


def _count_images(page: pdfium.PdfPage) -> int:
    return sum(1 for _ in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4))


def _has_grid(page: pdfium.PdfPage) -> bool:
    """Whether lines are drawn both ways, or boxes of the size of a table cell: without them there is no ruled table."""
    across = down = cells = 0
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=4):
        left, bottom, right, top = item.get_bounds()
        width, height = right - left, top - bottom
        across += height < 3 and width > 20
        down += width < 3 and height > 8
        cells += width > 15 and 8 < height < 200
    return (across >= 2 and down >= 2) or cells >= 2 or (cells == 1 and across + down >= 3)
