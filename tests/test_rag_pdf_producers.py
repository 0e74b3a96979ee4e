"""PDF pages as TeX, DocBook, Doxygen or groff write them: accents apart, open tables, heads by section, listings."""

from __future__ import annotations

import io
from pathlib import Path

from reportlab.lib.pagesizes import letter
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph
from sample_manuals import BODY, HEAD, PROSE, SUBHEAD, Draw, make_pdf, outline, parse_text, texts

from rag.manuals import ParsedManual
from rag.pdf_lines import open_pdf, read_pages


def parse_pages(tmp_path: Path, *pages: Draw, bookmarks: bool = False) -> ParsedManual:
    return parse_text(tmp_path, "manual.pdf", make_pdf(list(pages), bookmarks=bookmarks))


def parse_canvas(tmp_path: Path, *pages: list[tuple[float, float, str]]) -> ParsedManual:
    """A PDF whose pages have nothing but the given lines: x and y from the bottom left."""
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=letter, invariant=1)
    for lines in pages:
        canvas.setFont("Helvetica", 10)
        for x, y, text in lines:
            canvas.drawString(x, y, text)
        canvas.showPage()
    canvas.save()
    return parse_text(tmp_path, "manual.pdf", target.getvalue())


def prose_lines(top: float, words: str) -> list[tuple[float, float, str]]:
    return [(72, top - 13 * n, f"{words} sentence {n} of the text that fills most of the width of this page.") for n in range(6)]


def test_a_page_of_short_lines_keeps_them_apart(tmp_path: Path) -> None:
    names = [f"- lamp{n}" for n in range(12)]
    manual = parse_canvas(tmp_path, [(72, 700 - 13 * n, name) for n, name in enumerate(names)])
    assert texts(manual, "list_item") == names


def test_accents_drawn_over_their_letters_are_joined_to_them(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> list:
        # As TeX writes it: the accent, back by more than its width, the letter.
        canvas.setFont("Helvetica", 10)
        parts = r"[(Ask J) -111 (\264) 444 (er) -111 (\210) 444 (ome at the caf) -111 (\264) 444 (e.)] TJ"
        canvas._code.append(f"BT /F1 10 Tf 72 690 Td {parts} ET")
        return []

    assert "Ask Jérôme at the café." in texts(parse_pages(tmp_path, draw))


def test_running_heads_of_sections_that_all_differ_are_dropped(tmp_path: Path) -> None:
    topics = ["Cleaning", "Storing", "Charging", "Repair", "Warranty", "Disposal", "Spare parts", "Noise"]
    pages = [[(72, 745, f"{n}.1 {topic}"), (530, 745, str(n + 4)), *prose_lines(700, topic)] for n, topic in enumerate(topics, 1)]
    manual = parse_canvas(tmp_path, *pages)
    assert not [text for text in texts(manual) if ".1 " in text or text.isdigit()]
    assert texts(manual)[0].startswith("Cleaning sentence 0")


def test_chapters_that_begin_alike_at_the_top_of_a_page_keep_their_headings(tmp_path: Path) -> None:
    style = ParagraphStyle("chapter", parent=HEAD, fontSize=16)

    def chapter(n: int) -> Draw:
        def draw(canvas: Canvas) -> list:
            heading = Paragraph(f"New in release {n}", style)
            heading.wrap(460, 30)
            heading.drawOn(canvas, 72, 725)
            return [Paragraph(PROSE * 2, BODY)]

        return draw

    manual = parse_pages(tmp_path, *[chapter(n) for n in range(1, 6)])
    assert outline(manual) == [(f"New in release {n}",) for n in range(1, 6)]


def test_footers_high_on_the_page_and_roman_numbers_are_dropped(tmp_path: Path) -> None:
    pages = [
        [*prose_lines(700, name), (72, 130, f"Lumo Lighting Inc. www.lumo.example {n}"), (300, 60, "iv")]
        for n, name in enumerate(["First", "Second", "Third", "Fourth", "Fifth"], 1)
    ]
    manual = parse_canvas(tmp_path, *pages)
    assert not [text for text in texts(manual) if "Lumo" in text or text == "iv"]


def test_a_table_of_contents_goes_whole_with_entries_of_two_lines_and_its_last_page(tmp_path: Path) -> None:
    entries = [(72.0, 700.0 - 16 * n, f"{n} Chapter about part {n} 3") for n in range(1, 9)]
    long = [(72.0, 540.0, "9 What to do when the lamp does not start after it"), (90.0, 524.0, "was stored in the cold 4")]
    manual = parse_canvas(
        tmp_path,
        [(72, 740, "Contents"), *entries, *long],
        [(72, 700, "10 Warranty 4"), (72, 684, "11 Disposal 5")],
        *[prose_lines(650, name) for name in ("First", "Second", "Third")],
    )
    assert all("sentence" in text for text in texts(manual))


def draw_open_table(canvas: Canvas, rows: list[list[str]], xs: list[float], word_space: float = 0.0) -> None:
    """Rules between all rows and columns, none at the left and right sides."""
    canvas.setFont("Helvetica", 10)
    for n in range(len(rows) + 1):
        canvas.line(xs[0], 600 - 20 * n, xs[-1], 600 - 20 * n)
    for x in xs[1:-1]:
        canvas.line(x, 600, x, 600 - 20 * len(rows))
    for n, row in enumerate(rows):
        for x, cell in zip(xs, row, strict=False):
            text = canvas.beginText(x + 4, 586 - 20 * n)
            text.setWordSpace(word_space)
            text.textOut(cell)
            canvas.drawText(text)


def test_a_table_open_at_its_sides_keeps_its_outer_columns_and_its_spaces(tmp_path: Path) -> None:
    rows = [["Part", "Number", "Price in shops"], ["Glass shade", "LU-1", "12 euro"], ["Foot of steel", "LU-2", "30 euro"]]

    def draw(canvas: Canvas) -> list:
        draw_open_table(canvas, rows, [72, 200, 300, 420], word_space=-0.4)
        return [Paragraph(PROSE, BODY)]

    assert texts(parse_pages(tmp_path, draw), "table") == ["\n".join(" | ".join(row) for row in rows)]


def test_headings_below_those_of_a_sparse_outline_are_found(tmp_path: Path) -> None:
    part_style = ParagraphStyle("part", parent=SUBHEAD)  # not among the bookmarks

    def chapter(name: str, *parts: str) -> Draw:
        found = [p for part in parts for p in (Paragraph(part, part_style), Paragraph(PROSE * 2, BODY))]
        return lambda canvas: [Paragraph(name, HEAD), *found]

    plain: Draw = lambda canvas: [Paragraph(PROSE * 4, BODY)]  # noqa: E731
    pages = [chapter("Use", "Light", "Timer"), plain, plain, chapter("Care", "Glass"), plain, plain, plain]
    manual = parse_pages(tmp_path, *pages, bookmarks=True)
    assert outline(manual) == [("Use", "Light"), ("Use", "Timer"), ("Care", "Glass")]


def test_listings_stand_apart_and_keep_their_indents(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> list:
        canvas.setFont("Helvetica", 10)
        canvas.drawString(72, 500, "The lamp answers to this script, which you can change as you like it")
        canvas.setFont("Courier", 9)
        for n, line in enumerate(["if dark:", "    lamp.on(level=2)", "else:", "    lamp.off()"]):
            canvas.drawString(90 + 5.4 * (len(line) - len(line.lstrip())), 478 - 11 * n, line.lstrip())
        canvas.setFont("Helvetica", 10)
        canvas.drawString(72, 422, "and it needs no other program than the one that came with your lamp.")
        return [Paragraph(PROSE * 3, BODY)]

    manual = parse_pages(tmp_path, draw)
    assert texts(manual, "code") == ["if dark:\n    lamp.on(level=2)\nelse:\n    lamp.off()"]
    assert any(text.endswith("as you like it") for text in texts(manual, "paragraph"))


def draw_lines(*lines: tuple[float, float, str, str]) -> Draw:
    """Lines in their fonts (x, y, font, text) below PROSE, written before it."""

    def draw(canvas: Canvas) -> list:
        for x, y, font, text in lines:
            canvas.setFont(font, 10)
            canvas.drawString(x, y, text)
        return [Paragraph(PROSE * 3, BODY)]

    return draw


def test_an_option_stands_in_the_text_that_explains_it(tmp_path: Path) -> None:
    page = draw_lines(
        (72, 500, "Courier", "-dim (-d, --less-light)"),
        (108, 487, "Helvetica", "Start the lamp at a tenth of its light, until a level is"),
        (108, 474, "Helvetica", "chosen with the wheel."),
        (72, 461, "Courier", "-metric (-m)"),
        (108, 448, "Helvetica", "Show distances in metres. Default: off"),
        (72, 435, "Helvetica-Bold", "-quiet"),
        (108, 422, "Helvetica", "Make no sound when a button is pressed."),
    )
    manual = parse_pages(tmp_path, page)
    assert texts(manual, "paragraph")[:3] == [
        "-dim (-d, --less-light): Start the lamp at a tenth of its light, until a level is chosen with the wheel.",
        "-metric (-m): Show distances in metres. Default: off",
        "-quiet: Make no sound when a button is pressed.",
    ]


def test_a_single_line_above_an_indented_text_is_no_list_of_terms(tmp_path: Path) -> None:
    page = draw_lines((72, 500, "Courier", "lampctl status"), (108, 487, "Helvetica", "This shows what the lamp is doing."))
    assert texts(parse_pages(tmp_path, page))[:2] == ["lampctl status", "This shows what the lamp is doing."]


def test_a_line_of_two_fonts_is_read_the_same_in_every_run(tmp_path: Path) -> None:
    fonts = ["Courier", "Times-Roman", "Courier-Bold", "Times-Bold", "Courier-Oblique", "Times-Italic"]
    data = make_pdf([lambda canvas: [Paragraph(f"Type<font face='{font}'>dark</font>", BODY) for font in fonts]])
    document = open_pdf(data, "manual.pdf")
    [page] = read_pages(document)
    document.close()
    assert [line.font for line in page.lines] == ["helvetica"] * len(fonts)


def test_the_number_of_a_heading_that_stands_apart_is_no_text(tmp_path: Path) -> None:
    def question(canvas: Canvas) -> list:
        return [Paragraph(PROSE, BODY), Paragraph("4.", BODY), Paragraph("Why does it blink", HEAD), Paragraph(PROSE, BODY)]

    manual = parse_pages(tmp_path, question)
    assert outline(manual) == [(), ("Why does it blink",)]
    assert texts(manual) == [PROSE.strip()] * 2
