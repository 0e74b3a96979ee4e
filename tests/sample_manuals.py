"""Small manuals made by the tests, and short ways to look at what was parsed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
from docx.oxml import OxmlElement
from reportlab.lib import colors
from reportlab.lib.pagesizes import letter
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, Table, TableStyle

from emendo.records import Block
from rag.manuals import ParsedManual, find_manuals, parse


def parse_text(tmp_path: Path, name: str, text: str | bytes) -> ParsedManual:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return parse(find_manuals(path)[0])


def outline(manual: ParsedManual) -> list[tuple[str, ...]]:
    return [section.path for section in manual.sections]


def blocks(manual: ParsedManual) -> list[Block]:
    return [block for section in manual.sections for block in section.blocks]


def texts(manual: ParsedManual, kind: str = "") -> list[str]:
    return [block.text for block in blocks(manual) if not kind or block.kind == kind]


def make_docx() -> bytes:
    document = docx.Document()
    document.core_properties.title = ""
    document.add_paragraph("Lumo 3 user guide")
    document.add_heading("Set-up", 1)
    for text in ("Open the box.", "Take out the lamp."):
        document.add_paragraph(text, style="List Number")
    document.add_paragraph("A spare bulb", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip((c for row in table.rows for c in row.cells), ("Code", "Meaning", "E1", "Too hot"), strict=True):
        cell.text = text
    frame = document.add_table(rows=1, cols=1)
    frame.rows[0].cells[0].text = "DO NOT touch the bulb."
    document.add_heading("Care", 2)
    paragraph = document.add_paragraph("Wipe it.")
    box = OxmlElement("w:txbxContent")
    inner = OxmlElement("w:p")
    run, text_element = OxmlElement("w:r"), OxmlElement("w:t")
    text_element.text = "Caution: let it cool first."
    run.append(text_element)
    inner.append(run)
    box.append(inner)
    holder = OxmlElement("w:r")
    picture = OxmlElement("w:pict")
    picture.append(box)
    holder.append(picture)
    paragraph._p.append(holder)
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=10, leading=13, spaceAfter=8)
HEAD = ParagraphStyle("head", fontName="Helvetica-Bold", fontSize=16, leading=20, spaceAfter=8)
SUBHEAD = ParagraphStyle("subhead", fontName="Helvetica-Bold", fontSize=10, leading=13, spaceAfter=6)
PROSE = "The lamp has three levels of light that you choose with the wheel at the back of its foot, and it keeps the last one. "
GRID = TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
Draw = Callable[[Canvas], list]


def make_pdf(pages: list[Draw], encrypt: str = "", bookmarks: bool = False) -> bytes:
    """A PDF whose pages have the flowables that each function gives and, where there are several, a running head and number."""
    target = io.BytesIO()
    encryption = StandardEncryption(encrypt) if encrypt else None
    canvas = Canvas(target, pagesize=letter, encrypt=encryption, invariant=1)
    for number, draw in enumerate(pages, 1):
        if len(pages) > 1:
            canvas.setFont("Helvetica", 8)
            canvas.drawString(72, 760, "Lumo 3 user guide")
            canvas.drawRightString(540, 30, f"Page {number}")
        top = 720.0
        for flowable in draw(canvas):
            _, height = flowable.wrap(460, 700)
            if bookmarks and isinstance(flowable, Paragraph) and flowable.style in (HEAD, SUBHEAD):
                key = f"{number}-{top}"
                canvas.bookmarkHorizontal(key, 0, top)
                canvas.addOutlineEntry(flowable.text, key, 0 if flowable.style is HEAD else 1)
            flowable.drawOn(canvas, 72, top - height)
            top -= height + flowable.getSpaceAfter() + 4
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def guide_pages() -> list[Draw]:
    table = Table([["Code", "Meaning"], ["E1", "Too hot"], ["E2", "No bulb"]], style=GRID)
    contents = [f"{title} {'.' * 60} {n}" for n, title in ((2, "Set-up"), (3, "Care"), (3, "Codes"))]
    return [
        lambda c: [Paragraph("Contents", HEAD), *(Paragraph(line, BODY) for line in contents)],
        lambda c: [
            Paragraph("Set-up", HEAD),
            Paragraph(PROSE * 3, BODY),
            Paragraph("First light", SUBHEAD),
            Paragraph("1. Screw the arm to the base.", BODY),
            Paragraph("2. Turn the wheel.", BODY),
            Paragraph("<b>WARNING</b> The bulb gets hot.", BODY),
            Paragraph("Now the lamp is ready, and its ring", BODY),
        ],
        lambda c: [Paragraph("shows a white light.", BODY), Paragraph("Care", HEAD), Paragraph(PROSE * 2, BODY), table],
        lambda c: [Paragraph("Codes", HEAD), Paragraph(PROSE, BODY)],
    ]


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path
