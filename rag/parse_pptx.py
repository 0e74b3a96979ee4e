"""PPTX -> blocks: a slide is a section under its title, its number the page; with tables, SmartArt, charts and notes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from lxml import etree
from pptx import Presentation
from pptx.enum.shapes import PP_PLACEHOLDER as PLACEHOLDER
from pptx.exc import PythonPptxError
from pptx.oxml.ns import qn

from emendo.records import Block, UserError
from rag.manual_files import check_office_file
from rag.outline import Reading, as_warning, readable_title, table_text, text_block, tidy

_TITLES = (PLACEHOLDER.TITLE, PLACEHOLDER.CENTER_TITLE, PLACEHOLDER.VERTICAL_TITLE)
_FURNITURE = (PLACEHOLDER.DATE, PLACEHOLDER.FOOTER, PLACEHOLDER.HEADER, PLACEHOLDER.SLIDE_NUMBER)
_LISTS = (PLACEHOLDER.BODY, PLACEHOLDER.OBJECT)  # their layouts put a bullet before every paragraph
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"


def read(data: bytes, source: str) -> Reading:
    """The reading of a PowerPoint file; hidden slides are left out. Slides of pictures alone are named in the warnings."""
    check_office_file(data, source)
    try:
        presentation = Presentation(io.BytesIO(data))
        slides = list(presentation.slides)
    except (PythonPptxError, KeyError, ValueError, etree.XMLSyntaxError) as error:
        raise UserError(f"{source}: is not a readable .pptx ({error}). Save it anew in PowerPoint or LibreOffice.") from error
    blocks: list[Block] = []
    empty = []
    for number, slide in enumerate(slides, 1):
        if slide.element.get("show") == "0":
            continue
        found = list(_slide_blocks(slide, number))
        blocks += found
        if len(found) < 2 and any(shape.shape_type is not None and not shape.has_text_frame for shape in slide.shapes):
            empty.append(number)
    title = readable_title(presentation.core_properties.title or "")
    if not title or title.lower() == "powerpoint presentation":
        title = next((block.text for block in blocks if block.kind == "heading"), "")
    warnings = tuple(f"slide {number} has no text but its title (pictures are not read)" for number in empty)
    return Reading(tuple(blocks), title, len(slides), warnings)


def _slide_blocks(slide: Any, number: int) -> Iterator[Block]:
    """The slide's heading, then its shapes in the order they are read aloud, then the speaker's notes."""
    shapes = [shape for shape in _leaves(slide.shapes) if _kind(shape) not in _FURNITURE]
    titles = [shape for shape in shapes if _kind(shape) in _TITLES]
    title = tidy(" ".join(shape.text_frame.text for shape in titles if shape.has_text_frame))
    found = [block for shape in shapes if shape not in titles for block in _shape_blocks(shape, number)]
    if not title:
        short = found and found[0].kind == "paragraph" and len(found[0].text.split()) <= 10
        title = found[0].text if short else f"Slide {number}"
    level = 1 if slide.slide_layout.element.get("type") == "secHead" else 2
    yield Block("heading", title, level, number)
    yield from found
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        for paragraph in slide.notes_slide.notes_text_frame.text.splitlines():
            if tidy(paragraph):
                yield text_block(paragraph, number)


def _leaves(shapes: Iterable[Any]) -> Iterator[Any]:
    """The shapes, groups opened."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _leaves(shape.shapes)
        else:
            yield shape


def _kind(shape: Any) -> Any:
    return shape.placeholder_format.type if shape.is_placeholder else None


def _shape_blocks(shape: Any, number: int) -> Iterator[Block]:
    if shape.has_text_frame:
        yield from _text_blocks(shape.text_frame, number, _kind(shape) in _LISTS)
    elif getattr(shape, "has_table", False):
        text = table_text(_table_rows(shape.table))
        if text:
            yield Block("table", text, page=number)
    elif getattr(shape, "has_chart", False):
        yield from _chart_blocks(shape.chart, number)
    else:
        yield from _diagram_blocks(shape, number)


def _table_rows(table: Any) -> list[list[str]]:
    """The cells' texts; a cell merged over rows stands in each of them, so that every row says all."""
    rows = [[tidy(cell.text_frame.text) for cell in row.cells] for row in table.rows]
    for top, row in enumerate(table.rows):
        for column, cell in enumerate(row.cells):
            if cell.is_merge_origin:
                for below in range(top + 1, top + cell.span_height):
                    rows[below][column] = rows[top][column]
    return rows


def _text_blocks(frame: Any, number: int, is_list: bool) -> Iterator[Block]:
    """A frame's paragraphs: steps where numbered, list items where bulleted."""
    paragraphs = [(p, tidy(p.text)) for p in frame.paragraphs]
    filled = [(p, text) for p, text in paragraphs if text]
    counts: dict[int, int] = {}
    for paragraph, text in filled:
        properties = paragraph._p.pPr
        marks = {child.tag for child in properties} if properties is not None else set()
        if qn("a:buAutoNum") in marks:
            start = int(properties.find(qn("a:buAutoNum")).get("startAt", "1"))
            count = counts[paragraph.level] = counts.get(paragraph.level, start - 1) + 1
            yield Block("step" if paragraph.level == 0 else "list_item", f"{count}. {text}", page=number)
            continue
        counts.clear()
        block = text_block(text, number)
        bulleted = qn("a:buChar") in marks or (is_list and len(filled) > 1 and qn("a:buNone") not in marks)
        if bulleted and block.kind == "paragraph" and as_warning(block).kind != "warning":
            block = Block("list_item", f"- {block.text}", page=number)
        yield block


def _chart_blocks(chart: Any, number: int) -> Iterator[Block]:
    """A chart as the table it was drawn from."""
    if chart.has_title and chart.chart_title.has_text_frame:
        yield text_block(chart.chart_title.text_frame.text, number)
    for plot in chart.plots:
        series = list(plot.series)
        rows = [["", *(one.name for one in series)]]
        for n, category in enumerate(plot.categories):
            rows.append([str(category), *(f"{one.values[n]:g}" if one.values[n] is not None else "" for one in series)])
        if len(rows) > 1:
            yield Block("table", table_text(rows), page=number)


def _diagram_blocks(shape: Any, number: int) -> Iterator[Block]:
    """The texts of a SmartArt diagram, one a node."""
    for related in shape.element.iter(f"{_DIAGRAM}relIds"):
        part = shape.part.related_part(related.get(qn("r:dm")))
        for point in etree.fromstring(part.blob, etree.XMLParser(resolve_entities=False)).iter(f"{_DIAGRAM}pt"):
            text = tidy("".join(piece.text or "" for piece in point.iter(qn("a:t"))))
            if text:
                yield Block("list_item", f"- {text}", page=number)
