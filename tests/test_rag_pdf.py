"""PDF: headings, pages, boxes, tables and hyphens, in made and in real manuals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, Table
from sample_manuals import BODY, GRID, HEAD, PROSE, Draw, blocks, guide_pages, make_pdf, outline, parse_text, texts

from emendo.records import UserError
from rag.manuals import ManualFile, parse


@pytest.mark.parametrize("bookmarks", [True, False])
def test_pdf_has_headings_pages_boxes_and_no_furniture(tmp_path: Path, bookmarks: bool) -> None:
    manual = parse_text(tmp_path, "guide.pdf", make_pdf(guide_pages(), bookmarks=bookmarks))
    assert outline(manual) == [("Set-up",), ("Set-up", "First light"), ("Care",), ("Codes",)]
    first, light, care, codes = manual.sections
    assert [block.text for block in first.blocks] == [(PROSE * 3).strip()]
    assert [(block.kind, block.text) for block in light.blocks] == [
        ("step", "1. Screw the arm to the base."),
        ("step", "2. Turn the wheel."),
        ("warning", "WARNING: The bulb gets hot."),
        ("paragraph", "Now the lamp is ready, and its ring shows a white light."),
    ]
    assert care.blocks[-1].kind == "table"
    assert care.blocks[-1].text == "Code | Meaning\nE1 | Too hot\nE2 | No bulb"
    assert manual.document.pages == 4
    assert [box.page for box in light.blocks[-1].boxes] == [2, 3]
    assert codes.blocks[0].page == 4
    box = first.blocks[0].boxes[0]
    assert 70 <= box.x0 < box.x1 <= 540
    assert 80 < box.y0 < box.y1 < 200  # points from the top


def test_pdf_mends_hyphens_the_way_the_document_spells(tmp_path: Path) -> None:
    lines = [
        "The thermostat is a built-in part of the foot.",
        "Turn the thermo-",
        "stat to the left. It is built-",
        "in on the right side.",
    ]

    def draw(canvas: Canvas) -> list:
        canvas.setFont("Helvetica", 10)
        for n, line in enumerate(lines):
            canvas.drawString(72, 700 - 13 * n, line)
        return []

    text = " ".join(texts(parse_text(tmp_path, "h.pdf", make_pdf([draw]))))
    assert "Turn the thermostat to the left." in text
    assert "It is built-in on the right side." in text


def test_pdf_lines_of_codes_stay_apart_and_full_lines_go_on(tmp_path: Path) -> None:
    full = "The lamp keeps the last of its three levels of light when you turn the wheel at the back of the"
    rest = "foot, even after a power cut, and shows the level on the ring around its shade for three seconds."
    lines = [(720, full), (701, rest), (660, "E01 TOO HOT let it cool for ten"), (647, "E02 NO BULB put one in")]

    def draw(canvas: Canvas) -> list:
        canvas.setFont("Helvetica", 10)
        for y, line in lines:
            canvas.drawString(72, y, line)
        for n in range(8):
            canvas.drawString(72, 600 - 13 * n, PROSE[:95])
        return []

    found = texts(parse_text(tmp_path, "codes.pdf", make_pdf([draw])))
    assert f"{full} {rest}" in found
    assert found[1:3] == ["E01 TOO HOT let it cool for ten", "E02 NO BULB put one in"]


def test_pdf_labels_of_a_drawing_are_no_table(tmp_path: Path) -> None:
    labels = Table([["Firmware upload", ""], ["", "Bluetooth"]], style=GRID)
    manual = parse_text(tmp_path, "drawing.pdf", make_pdf([lambda c: [Paragraph(PROSE, BODY), labels]]))
    assert texts(manual, "table") == [] and {"Firmware upload", "Bluetooth"} <= set(texts(manual))


def test_pdf_pages_before_the_outline_begins_have_headings_too(tmp_path: Path) -> None:
    unlisted = ParagraphStyle("unlisted", parent=HEAD)
    front: Draw = lambda c: [Paragraph("Compatibility", unlisted), Paragraph(PROSE, BODY)]  # noqa: E731
    manual = parse_text(tmp_path, "front.pdf", make_pdf([front, *guide_pages()[1:]], bookmarks=True))
    assert outline(manual)[:2] == [("Compatibility",), ("Set-up",)]


def test_pdf_page_of_pictures_is_named(tmp_path: Path) -> None:
    def picture(canvas: Canvas) -> list:
        canvas.drawImage(ImageReader(Image.new("RGB", (40, 40), "grey")), 100, 300, 300, 300)
        return []

    words: Draw = lambda c: [Paragraph(PROSE, BODY)]  # noqa: E731
    manual = parse_text(tmp_path, "scan.pdf", make_pdf([words, picture, words]))
    assert manual.document.warnings == ("page 2 without text (if they are scans, add: --set index.ocr=eng)",)
    with pytest.raises(UserError, match=r"scan2\.pdf: no text found.*ocr=eng"):
        parse_text(tmp_path, "scan2.pdf", make_pdf([picture]))


@pytest.mark.parametrize(
    ("name", "pages", "headings"),
    [
        ("afterburner", 67, ["Introduction", "Detailed Control menu"]),
        ("dsview", 63, ["2.7.4 Cursor Insert"]),
        ("tsdz2_display", 9, ["ERROR CODES", "E04 - ERROR_MOTOR_BLOCKED", "How to activate WALK ASSIST"]),
        ("tsdz2_params", 22, ["Motor acceleration (%)"]),
    ],
)
def test_real_pdfs_keep_their_headings_and_quotes(shared_data: Path, name: str, pages: int, headings: list[str]) -> None:
    folder = shared_data / "pdf_manuals" / name
    manual = parse(ManualFile(folder / "manual.pdf", f"{name}/manual.pdf"))
    found = {heading for path in outline(manual) for heading in path}
    assert set(headings) <= found
    assert manual.document.pages == pages
    assert not any(re.search(r"\.{6,}\s*\d+$", text) for text in texts(manual))
    words: dict[int, set[str]] = {page: set() for page in range(pages + 1)}
    for block in blocks(manual):
        for page in {block.page, *(box.page for box in block.boxes)}:
            words[page or 0].update(re.findall(r"\w+", block.text.lower()))
    rows = [json.loads(line) for line in (folder / "qa.jsonl").read_text().splitlines()]
    quotes = [quote for row in rows if row["answerable"] and not row.get("image_only") for quote in row["quotes"]]
    kept = []
    for quote in quotes:
        wanted = re.findall(r"\w+", quote["text"].lower().replace("\ufffe", ""))
        kept.append(sum(word in words[quote["page"]] for word in wanted) / len(wanted))
    # Words at line ends may be joined differently; nearly all of every quote must stand on its page.
    assert sum(kept) / len(kept) > 0.95
