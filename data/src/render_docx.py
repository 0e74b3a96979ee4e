"""Render one Markdown manual to DOCX:  python render_docx.py <source.md> <target.docx>

Understands just what the sample manuals use: #..#### headings, paragraphs, bullets, numbered steps, pipe tables,
**bold**, and `> **WARNING** text` boxes. "#" becomes the title, "##" to "####" become the styles Heading 1 to 3.
The output is byte-for-byte the same on every run.
"""

import io
import re
import sys
import zipfile
from datetime import datetime
from pathlib import Path

from docx import Document
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor

INK, ACCENT, HEAD_FILL = RGBColor(0x1F, 0x23, 0x28), RGBColor(0x1B, 0x4F, 0x72), "1B4F72"
BOXES = {"WARNING": "FDECEA", "CAUTION": "FFF5E0", "NOTE": "EAF2FB"}  # signal word: background
TEXT_WIDTH = Cm(16.6)
FIXED_DATE = datetime(2024, 3, 1)


def blocks(markdown):
    """Yield (kind, lines) for each block of the source, kinds: heading, box, table, steps, bullets, text."""
    for chunk in re.split(r"\n\s*\n", markdown.strip()):
        lines = chunk.splitlines()
        first = lines[0]
        if first.startswith("#"):
            yield "heading", lines
        elif first.startswith(">"):
            yield "box", [line.lstrip("> ") for line in lines]
        elif first.startswith("|"):
            yield "table", lines
        elif re.match(r"\d+\. ", first):
            yield "steps", [re.sub(r"^\d+\. ", "", line) for line in lines]
        elif first.startswith("- "):
            yield "bullets", [line[2:] for line in lines]
        else:
            yield "text", lines


def element(tag, **attributes):
    """One WordprocessingML element; attribute names get the w: prefix."""
    made = OxmlElement(tag)
    for name, value in attributes.items():
        made.set(qn("w:" + name), str(value))
    return made


def write(paragraph, text, size=None):
    """Add text to the paragraph, with **bold** as bold runs."""
    for i, part in enumerate(re.split(r"\*\*(.+?)\*\*", text)):
        if part:
            run = paragraph.add_run(part)
            run.bold = True if i % 2 else None
            run.font.size = size
    return paragraph


def shade(cell, fill):
    cell._tc.get_or_add_tcPr().append(element("w:shd", val="clear", color="auto", fill=fill))


class Manual:
    def __init__(self, source):
        self.doc = Document()
        self.set_up_styles()
        self.set_up_page()
        for kind, lines in blocks(source):
            getattr(self, kind)(lines)
        self.set_properties(re.search(r"^# (.+)$", source, re.M)[1])

    def set_up_styles(self):
        styles = self.doc.styles
        sizes = {"Normal": 10.5, "Title": 28, "Heading 1": 18, "Heading 2": 13, "Heading 3": 11}
        for name, size in sizes.items():
            style = styles[name]
            style.font.name, style.font.size = "Calibri", Pt(size)
            style.font.color.rgb = INK if name in ("Normal", "Heading 3") else ACCENT
            fonts = style.element.rPr.rFonts
            for theme in ("asciiTheme", "hAnsiTheme", "eastAsiaTheme", "cstheme"):  # would override Calibri
                fonts.attrib.pop(qn("w:" + theme), None)
        styles["Normal"].paragraph_format.space_after = Pt(6)
        styles["Normal"].element.get_or_add_rPr().append(element("w:lang", val="en-GB"))
        for name in ("List Number", "List Bullet"):
            styles[name].paragraph_format.space_after = Pt(3)

    def heading(self, lines):
        marks, text = lines[0].split(" ", 1)
        self.doc.add_heading(text.strip(), level=len(marks) - 1)  # level 0 is the style Title
        if lines[1:]:
            self.text(lines[1:])

    def text(self, lines):
        write(self.doc.add_paragraph(), " ".join(lines))

    def bullets(self, lines):
        for line in lines:
            write(self.doc.add_paragraph(style="List Bullet"), line)

    def steps(self, lines):
        number = self.new_numbering()
        for line in lines:
            paragraph = write(self.doc.add_paragraph(style="List Number"), line)
            numbering = paragraph._p.get_or_add_pPr().get_or_add_numPr()
            numbering.get_or_add_ilvl().val = 0
            numbering.get_or_add_numId().val = number

    def new_numbering(self):
        """A numbering of its own for one list, same look as the style List Number, starting again at 1."""
        numbering = self.doc.part.numbering_part.element
        style_num = self.doc.styles["List Number"].element.pPr.numPr.numId.val
        num = numbering.add_num(numbering.num_having_numId(style_num).abstractNumId.val)
        num.add_lvlOverride(ilvl=0).add_startOverride(1)
        return num.numId

    def table(self, lines):
        rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
        del rows[1]  # the |---|---| line
        table = self.doc.add_table(len(rows), len(rows[0]), style="Table Grid")
        longest = [min(max(len(cell) for cell in column), 48) + 4 for column in zip(*rows, strict=True)]
        widths = [int(TEXT_WIDTH * length / sum(longest)) for length in longest]
        for column, width in zip(table.columns, widths, strict=True):
            column.width = width
        for r, (row, texts) in enumerate(zip(table.rows, rows, strict=True)):
            properties = row._tr.get_or_add_trPr()
            properties.append(element("w:cantSplit"))
            if r == 0:
                properties.append(element("w:tblHeader"))  # repeats at the top of each page
            for cell, text, width in zip(row.cells, texts, widths, strict=True):
                cell.width = width
                paragraph = cell.paragraphs[0]
                paragraph.paragraph_format.space_after = Pt(1)
                write(paragraph, text, size=Pt(9.5))
                if r == 0:
                    shade(cell, HEAD_FILL)
                    for run in paragraph.runs:
                        run.bold, run.font.color.rgb = True, RGBColor(0xFF, 0xFF, 0xFF)
        self.gap()

    def box(self, lines):
        text = " ".join(lines)
        cell = self.doc.add_table(1, 1, style="Table Grid").cell(0, 0)
        shade(cell, BOXES[re.match(r"\*\*(\w+)\*\*", text)[1]])
        write(cell.paragraphs[0], text).paragraph_format.space_after = Pt(2)
        self.gap()

    def gap(self):
        """A thin empty paragraph, without which Word would join two tables that follow each other."""
        form = self.doc.add_paragraph().paragraph_format
        form.space_after, form.line_spacing = Pt(0), Pt(8)

    def set_up_page(self):
        section = self.doc.sections[0]
        section.page_width, section.page_height = Cm(21), Cm(29.7)
        section.left_margin = section.right_margin = Cm(2.2)
        section.top_margin = section.bottom_margin = Cm(2)
        footer = section.footer.paragraphs[0]
        footer.alignment = WD_ALIGN_PARAGRAPH.CENTER
        footer.add_run("Page ")
        field = element("w:fldSimple", instr="PAGE")
        field.append(footer.add_run("1")._r)  # Word puts the real number here
        footer._p.append(field)

    def set_properties(self, title):
        properties = self.doc.core_properties
        properties.title, properties.subject, properties.language = title, "User manual", "en-GB"
        properties.author = properties.last_modified_by = "Pavo"
        properties.comments, properties.keywords, properties.revision = "", "", 1
        properties.created = properties.modified = FIXED_DATE

    def save(self, target):
        """Save with the same time stamp on every part, so that equal content gives equal bytes."""
        buffer = io.BytesIO()
        self.doc.save(buffer)
        with zipfile.ZipFile(buffer) as parts, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
            for name in parts.namelist():
                entry = zipfile.ZipInfo(name, FIXED_DATE.timetuple()[:6])
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 0
                out.writestr(entry, parts.read(name))


if __name__ == "__main__":
    source, target = sys.argv[1:]
    Manual(Path(source).read_text(encoding="utf-8")).save(target)
