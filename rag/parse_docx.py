"""DOCX -> blocks: heading styles, list numbers as Word would show them, tables in place, text boxes after their paragraph."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from docx import Document as open_document
from docx.opc.exceptions import PackageNotFoundError
from docx.oxml.ns import qn

from emendo.records import Block, UserError
from rag.manual_files import check_office_file
from rag.outline import Reading, as_warning, is_contents_line, readable_title, table_text, text_block, tidy

_HEADING = re.compile(r"(?:heading|überschrift|titre|título)\s*(\d)", re.IGNORECASE)
_LARGE = 28  # half points; text is set in 20 to 24
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def read(data: bytes, source: str) -> Reading:
    """The reading of a Word file. Raises UserError when it is damaged, protected by a password, or an old .doc."""
    check_office_file(data, source)
    try:
        document = open_document(io.BytesIO(data))
    except (zipfile.BadZipFile, PackageNotFoundError, KeyError, ValueError) as error:
        raise UserError(f"{source}: is not a readable .docx ({error}). Save it anew in Word or LibreOffice.") from error
    blocks = list(_Walker(document).walk())
    title = readable_title(document.core_properties.title or "")
    opening = " ".join(block.text for block in blocks[:8]).lower()
    if not title or not re.search(rf"\b{re.escape(title.split()[0].lower())}\b", opening):
        # The title of another document, or none: take what stands first.
        title = next((b.text for b in blocks if b.kind == "heading" or len(b.text.split()) <= 10), "")
    return Reading(tuple(blocks), title)


class _Walker:
    """One pass over the body; counts the numbers of its lists."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.body = document.element.body
        self.styles = {style.style_id: style for style in document.styles}
        self.styled = False  # whether a heading style was met
        self.counts: dict[tuple[str, int], int] = {}

    def walk(self) -> Iterator[Block]:
        for element in self.body.iterchildren():
            yield from self._element(element)

    def _element(self, element: Any) -> Iterator[Block]:
        if element.tag == qn("w:p"):
            yield from self._paragraph(element)
        elif element.tag == qn("w:tbl"):
            yield from self._table(element)
        elif element.tag == qn("w:sdt"):  # a content control, as around a table of contents
            for child in element.iterfind(qn("w:sdtContent") + "/*"):
                yield from self._element(child)

    def _paragraph(self, element: Any) -> Iterator[Block]:
        style = self._style(element)
        text = tidy(_text(element))
        if text and not style.lower().startswith(("toc", "header", "footer")) and not is_contents_line(text):
            heading = _HEADING.match(style) or (re.match("(title)$", style, re.IGNORECASE))
            if heading:
                self.styled = True
                yield Block("heading", text, int(heading[1]) if heading[1].isdigit() else 1)
            else:
                block = self._list_item(element, style, text) or text_block(text)
                loud = not self.styled and block.kind == "paragraph" and self._is_loud(element, text)
                yield Block("heading", text.rstrip(" :"), 1) if loud else block
        for box in _text_boxes(element):
            for child in box.iterchildren():
                yield from self._element(child)

    def _is_loud(self, element: Any, text: str) -> bool:
        """Whether the paragraph looks like a heading: short, no sentence, all of it bold or large.

        Asked until the first heading style is met: many authors use none, or none on the first pages.
        """
        if len(text.split()) > 10 or text[-1] in ".!?,;" or sum(c.isalpha() for c in text) < 3:
            return False
        runs = [run for run in element.iter(qn("w:r")) if "".join(run.itertext()).strip()]
        return bool(runs) and all(_is_bold(run) or _half_points(run) >= _LARGE for run in runs)

    def _style(self, element: Any) -> str:
        named = element.find(f"{qn('w:pPr')}/{qn('w:pStyle')}")
        style = self.styles.get(named.get(qn("w:val"))) if named is not None else None
        return style.name or "" if style is not None else ""

    def _list_item(self, element: Any, style: str, text: str) -> Block | None:
        """The paragraph as a step with its number or as a list item; None when it is neither."""
        numbering = self._numbering(element)
        if numbering is None:
            return None
        identity, level = numbering
        form = self._form(identity, level)
        if form in ("bullet", "none", ""):
            block = as_warning(Block("list_item", text))
            return block if block.kind == "warning" else Block("list_item", f"- {text}")
        for deeper in [key for key in self.counts if key[0] == identity and key[1] > level]:
            del self.counts[deeper]
        number = self.counts[identity, level] = self.counts.get((identity, level), self._start(identity, level) - 1) + 1
        mark = chr(96 + (number - 1) % 26 + 1) if form.endswith("Letter") else str(number)
        return Block("step" if level == 0 else "list_item", f"{mark}. {text}")

    def _numbering(self, element: Any) -> tuple[str, int] | None:
        """(list id, level) of a list paragraph, from itself or its style."""
        properties = [element.find(qn("w:pPr"))]
        named = element.find(f"{qn('w:pPr')}/{qn('w:pStyle')}")
        style = self.styles.get(named.get(qn("w:val"))) if named is not None else None
        while style is not None:
            properties.append(style.element.find(qn("w:pPr")))
            style = style.base_style if hasattr(style, "base_style") else None
        for found in properties:
            identity = found.find(f"{qn('w:numPr')}/{qn('w:numId')}") if found is not None else None
            if identity is not None:
                level = found.find(f"{qn('w:numPr')}/{qn('w:ilvl')}")
                number = identity.get(qn("w:val"))
                return None if number == "0" else (number, int(level.get(qn("w:val"))) if level is not None else 0)
        return None

    def _definition(self, identity: str, level: int) -> Any:
        try:
            root = self.document.part.numbering_part.element
        except (KeyError, NotImplementedError):
            return None
        abstract = root.find(f"{qn('w:num')}[@{qn('w:numId')}='{identity}']/{qn('w:abstractNumId')}")
        if abstract is None:
            return None
        path = f"{qn('w:abstractNum')}[@{qn('w:abstractNumId')}='{abstract.get(qn('w:val'))}']"
        return root.find(f"{path}/{qn('w:lvl')}[@{qn('w:ilvl')}='{level}']")

    def _form(self, identity: str, level: int) -> str:
        definition = self._definition(identity, level)
        form = definition.find(qn("w:numFmt")) if definition is not None else None
        return form.get(qn("w:val")) if form is not None else ""

    def _start(self, identity: str, level: int) -> int:
        definition = self._definition(identity, level)
        start = definition.find(qn("w:start")) if definition is not None else None
        return int(start.get(qn("w:val"))) if start is not None else 1

    def _table(self, element: Any) -> Iterator[Block]:
        rows = [[" ".join(_cell_texts(cell)) for cell in row.iterfind(qn("w:tc"))] for row in element.iterfind(qn("w:tr"))]
        if sum(1 for row in rows for cell in row if cell.strip()) <= 1 or max(map(len, rows), default=0) == 1:
            # A frame around text, as of a warning.
            for cell in element.iter(qn("w:tc")):
                for child in cell.iterchildren():
                    yield from self._element(child)
            return
        text = table_text(rows)
        if text:
            yield Block("table", text)
        for box in (b for p in element.iter(qn("w:p")) for b in _text_boxes(p)):
            for child in box.iterchildren():
                yield from self._element(child)


def _is_bold(run: Any) -> bool:
    mark = run.find(f"{qn('w:rPr')}/{qn('w:b')}")
    return mark is not None and mark.get(qn("w:val")) not in ("0", "false")


def _half_points(run: Any) -> int:
    """The run's own font size in half points, as Word writes it; 0 where its style tells."""
    size = run.find(f"{qn('w:rPr')}/{qn('w:sz')}")
    return int(float(size.get(qn("w:val")))) if size is not None else 0


def _text(element: Any) -> str:
    """A paragraph's own text: tabs and breaks as spaces, deleted text and text boxes left out."""
    parts = []
    skipped = {qn("w:txbxContent"), qn("w:del"), _FALLBACK}

    def visit(node: Any) -> None:
        for child in node.iterchildren():
            if child.tag in skipped:
                continue
            if child.tag == qn("w:t"):
                parts.append(child.text or "")
            elif child.tag in (qn("w:tab"), qn("w:br"), qn("w:cr")):
                parts.append(" ")
            elif child.tag == qn("w:noBreakHyphen"):
                parts.append("-")
            else:
                visit(child)

    visit(element)
    return "".join(parts)


def _text_boxes(paragraph: Any) -> list[Any]:
    """The text boxes anchored in the paragraph; the copy that Word keeps for old programs is left out."""
    return [box for box in paragraph.iter(qn("w:txbxContent")) if not any(a.tag == _FALLBACK for a in box.iterancestors())]


def _cell_texts(cell: Any) -> list[str]:
    return [text for text in (tidy(_text(p)) for p in cell.iter(qn("w:p"))) if text]
