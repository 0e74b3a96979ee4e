"""Render one Markdown manual to PDF:  python render_pdf.py <source.md> <target.pdf>

Understands just what the sample manuals use: #..#### headings, paragraphs, numbered steps, pipe tables,
**bold**, and `> **WARNING** text` boxes. The output is byte-for-byte the same on every run.
"""

import re
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import letter
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import inch
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Frame,
    KeepTogether,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)
from reportlab.platypus.tableofcontents import TableOfContents

INK, ACCENT, RULE, TINT = (colors.HexColor(c) for c in ("#1f2328", "#7a3b1d", "#c9bdb4", "#f4eee9"))
BOXES = {  # signal word: (bar, background)
    "WARNING": (colors.HexColor("#c4261d"), colors.HexColor("#fdecea")),
    "CAUTION": (colors.HexColor("#d98200"), colors.HexColor("#fff5e0")),
    "NOTE": (colors.HexColor("#2b6cb0"), colors.HexColor("#eaf2fb")),
}
WIDTH = letter[0] - 1.9 * inch  # text width
BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=9.6, leading=13.2, textColor=INK, spaceAfter=6)
STEP = ParagraphStyle(
    "step", BODY, leftIndent=20, bulletIndent=3, bulletFontName="Helvetica-Bold", bulletFontSize=9.6, spaceAfter=3
)
CELL = ParagraphStyle("cell", BODY, fontSize=8.8, leading=11.2, spaceAfter=0)
HEAD_CELL = ParagraphStyle("headcell", CELL, fontName="Helvetica-Bold", textColor=colors.white)
TITLE = ParagraphStyle("title", BODY, fontName="Helvetica-Bold", fontSize=30, leading=36, textColor=ACCENT)
HEADINGS = {
    2: ParagraphStyle(
        "h2",
        BODY,
        fontName="Helvetica-Bold",
        fontSize=17,
        leading=21,
        textColor=ACCENT,
        spaceBefore=16,
        spaceAfter=7,
        keepWithNext=1,
    ),
    3: ParagraphStyle(
        "h3", BODY, fontName="Helvetica-Bold", fontSize=12, leading=15, spaceBefore=10, spaceAfter=4, keepWithNext=1
    ),
    4: ParagraphStyle(
        "h4",
        BODY,
        fontName="Helvetica-Bold",
        fontSize=10,
        leading=13,
        textColor=ACCENT,
        spaceBefore=5,
        spaceAfter=3,
        keepWithNext=1,
    ),
}


def inline(text):
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))


def blocks(markdown):
    """Yield (kind, lines) for each block of the source, kinds: heading, box, table, steps, text."""
    for chunk in re.split(r"\n\s*\n", markdown.strip()):
        lines = chunk.splitlines()
        if lines[0].startswith("#"):
            yield "heading", lines[:1]
            if lines[1:]:
                yield from blocks("\n".join(lines[1:]))
        elif lines[0].startswith(">"):
            yield "box", [line.lstrip("> ") for line in lines]
        elif lines[0].startswith("|"):
            yield "table", lines
        elif re.match(r"\d+\. ", lines[0]):
            yield "steps", lines
        else:
            yield "text", [" ".join(lines)]


def table(lines):
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    del rows[1]  # the |---| line
    columns = list(zip(*rows, strict=True))
    # a column is as wide as its content asks, but never narrower than its longest word
    words = [max(cell_width(word) for cell in column for word in cell.split()) + 14 for column in columns]
    wanted = [max(max(map(cell_width, column)), word) ** 0.75 for column, word in zip(columns, words, strict=True)]
    widths = [max(word, WIDTH * want / sum(wanted)) for word, want in zip(words, wanted, strict=True)]
    widest = widths.index(max(widths))
    widths[widest] -= sum(widths) - WIDTH
    body = [[Paragraph(inline(cell), CELL if index else HEAD_CELL) for cell in row] for index, row in enumerate(rows)]
    return Table(
        body,
        colWidths=widths,
        repeatRows=1,
        spaceBefore=7,
        spaceAfter=9,
        style=TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, 0), ACCENT),
                ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, TINT]),
                ("GRID", (0, 0), (-1, -1), 0.5, RULE),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("TOPPADDING", (0, 0), (-1, -1), 3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 3.5),
            ]
        ),
    )


def cell_width(text):
    return stringWidth(text, "Helvetica-Bold", CELL.fontSize)


def box(lines):
    text = " ".join(lines)
    bar, background = BOXES[re.match(r"\*\*(\w+)\*\*", text)[1]]
    text = re.sub(r"^\*\*(\w+)\*\*", f'<font color="{bar.hexval().replace("0x", "#")}"><b>\\1</b></font>', escape(text))
    return Table(
        [[Paragraph(text, CELL)]],
        colWidths=[WIDTH],
        spaceBefore=6,
        spaceAfter=8,
        style=TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), background),
                ("LINEBEFORE", (0, 0), (0, -1), 4, bar),
                ("LEFTPADDING", (0, 0), (-1, -1), 11),
                ("TOPPADDING", (0, 0), (-1, -1), 5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
            ]
        ),
    )


class Manual(BaseDocTemplate):
    """Page furniture, outline entries and table-of-contents notifications."""

    def __init__(self, target, title):
        super().__init__(
            target, pagesize=letter, title=title, author="Corvella", subject="Instruction manual", lang="en-US", invariant=1
        )
        self.manual_title = title
        frame = Frame(0.95 * inch, 0.85 * inch, WIDTH, letter[1] - 1.75 * inch, 0, 0, 0, 0, id="text")
        cover = Frame(0.95 * inch, 0.85 * inch, WIDTH, 4.2 * inch, 0, 0, 0, 0, id="cover")
        column = (WIDTH - 30) / 2
        halves = [Frame(0.95 * inch + x, 0.85 * inch, column, letter[1] - 1.75 * inch, 0, 0, 0, 0) for x in (0, column + 30)]
        self.addPageTemplates(
            [
                PageTemplate("cover", [cover], onPage=draw_cover),
                PageTemplate("contents", halves, onPageEnd=self.furniture),
                PageTemplate("text", [frame], onPageEnd=self.furniture),
            ]
        )

    def beforeDocument(self):
        self.chapter, self.headings = "", 0

    def afterFlowable(self, flowable):
        level = {"h2": 0, "h3": 1, "h4": 2}.get(getattr(getattr(flowable, "style", None), "name", ""))
        if level is None:
            return
        text, key = flowable.getPlainText(), f"heading-{self.headings}"
        self.headings += 1
        self.canv.bookmarkPage(key)
        self.canv.addOutlineEntry(text, key, level, closed=level == 0)
        if level < 2:
            self.notify("TOCEntry", (level, escape(text), self.page, key))
        if level == 0:
            self.chapter = text

    def furniture(self, canvas, _):
        left, right, top = 0.95 * inch, letter[0] - 0.95 * inch, letter[1] - 0.62 * inch
        canvas.saveState()
        canvas.setStrokeColor(RULE)
        canvas.line(left, top - 5, right, top - 5)
        canvas.line(left, 0.68 * inch, right, 0.68 * inch)
        canvas.setFillColor(colors.HexColor("#5b6470"))
        canvas.setFont("Helvetica", 8)
        canvas.drawString(left, top, self.manual_title)
        canvas.drawRightString(right, top, self.chapter)
        canvas.drawString(left, 0.5 * inch, "CV-E20-US")
        canvas.drawRightString(right, 0.5 * inch, str(canvas.getPageNumber()))
        canvas.restoreState()


def draw_cover(canvas, _):
    """Brown upper half with a line drawing of the machine, built from a few rectangles."""
    wide, high = letter
    canvas.saveState()
    canvas.setFillColor(ACCENT)
    canvas.rect(0, 5.4 * inch, wide, high - 5.4 * inch, stroke=0, fill=1)
    canvas.setStrokeColor(colors.white)
    canvas.setLineWidth(2)
    canvas.translate(wide / 2 - 120, 5.95 * inch)
    for x, y, w, h in (
        (0, 0, 240, 24),
        (0, 120, 240, 84),
        (150, 24, 90, 96),
        (30, 204, 64, 56),
        (24, 260, 76, 10),
        (96, 104, 64, 16),
        (108, 92, 40, 12),
        (150, 140, 64, 44),
        (116, 24, 24, 20),
    ):
        canvas.roundRect(x, y, w, h, 4)
    canvas.circle(40, 162, 18)  # pressure gauge
    canvas.line(40, 162, 50, 172)
    for x in (76, 100, 124):
        canvas.circle(x, 162, 7)
    canvas.line(40, 120, 40, 96)  # grinder chute and cradle
    canvas.line(56, 120, 56, 96)
    canvas.line(26, 96, 70, 96)
    canvas.line(122, 92, 122, 82)  # twin spout
    canvas.line(134, 92, 134, 82)
    canvas.line(244, 130, 262, 50)  # steam wand
    canvas.restoreState()


def story(markdown):
    parts = list(blocks(markdown))
    title, subtitle = parts[0][1][0].lstrip("# "), parts[1][1][0]
    toc = TableOfContents(
        dotsMinLevel=-1,
        levelStyles=[
            ParagraphStyle("toc0", BODY, fontName="Helvetica-Bold", spaceBefore=6, spaceAfter=0, leading=12, textColor=ACCENT),
            ParagraphStyle("toc1", BODY, fontSize=9, leading=11, leftIndent=12, spaceAfter=0),
        ],
    )
    yield from (Paragraph(inline(title), TITLE), Spacer(1, 10))
    yield from (Paragraph(inline(line), BODY) for line in re.split(r"(?<=\.) ", subtitle))
    yield from (NextPageTemplate("contents"), PageBreak())
    contents = ParagraphStyle("contents", HEADINGS[2], spaceBefore=0)  # no outline entry, hence its own name
    yield from (Paragraph("Contents", contents), toc, NextPageTemplate("text"), PageBreak())
    for kind, lines in parts[2:]:
        if kind == "heading":
            level = len(lines[0]) - len(lines[0].lstrip("#"))
            yield CondPageBreak((2.2 if level == 2 else 1.3) * inch)
            yield Paragraph(inline(lines[0].lstrip("# ")), HEADINGS[level])
        elif kind == "steps":
            for number, text in (line.split(" ", 1) for line in lines):
                yield Paragraph(inline(text), STEP, bulletText=number)
            yield Spacer(1, 4)
        elif kind == "table":
            yield table(lines)
        elif kind == "box":
            yield KeepTogether(box(lines))
        else:
            yield Paragraph(inline(lines[0]), BODY)


def main(source, target):
    markdown = Path(source).read_text(encoding="utf-8")
    title = markdown.splitlines()[0].lstrip("# ")
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Manual(str(target), title).multiBuild(list(story(markdown)))


if __name__ == "__main__":
    main(*sys.argv[1:3])
