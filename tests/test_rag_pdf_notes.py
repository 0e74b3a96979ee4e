"""Notes, marks and labels around the text of a PDF page: footnotes, powers, boxed warnings, exclamation marks in the margin."""

from __future__ import annotations

import io
from pathlib import Path

from reportlab.lib.pagesizes import letter
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph
from sample_manuals import BODY, blocks, make_pdf, outline, parse_text, texts

from rag.manuals import ParsedManual

Word = tuple[float, float, float, str]  # x and y from the bottom left, size, text; bold from 14 points on


def parse_words(tmp_path: Path, *pages: list[Word]) -> ParsedManual:
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=letter, invariant=1)
    for words in pages:
        for x, y, size, text in words:
            canvas.setFont("Helvetica-Bold" if size >= 14 else "Helvetica", size)
            canvas.drawString(x, y, text)
        canvas.showPage()
    canvas.save()
    return parse_text(tmp_path, "manual.pdf", target.getvalue())


def prose(top: float, lines: int = 6) -> list[Word]:
    return [
        (72, top - 13 * n, 10, f"Line {n} of a text that fills most of the width of this page and says little,")
        for n in range(lines)
    ]


def test_marks_of_notes_and_powers_are_no_part_of_the_word_or_number(tmp_path: Path) -> None:
    text = (
        "The driver needs GTK<super size=6>1</super> and a disk of 10<super size=6>3</super> MB; water is H<sub size=6>2</sub>O."
    )
    manual = parse_text(tmp_path, "manual.pdf", make_pdf([lambda canvas: [Paragraph(text, BODY)]]))
    assert texts(manual) == ["The driver needs GTK ¹ and a disk of 10³ MB; water is H2O."]


def test_notes_at_the_foot_stand_behind_the_sentence_that_goes_on_overleaf(tmp_path: Path) -> None:
    notes = [(72, 90, 6, "1"), (76, 86, 8, "See the list of lamps."), (72, 80, 6, "2"), (76, 76, 8, "Sold apart.")]
    first = [*prose(700), (72, 622, 10, "It fits all lamps and all of the older"), *notes]
    second = [(72, 700, 10, "stands, too."), *prose(670)]
    manual = parse_words(tmp_path, [*first], [*second])
    found = texts(manual)
    assert found[0].endswith("It fits all lamps and all of the older stands, too.")
    assert found[1:3] == ["¹ See the list of lamps.", "² Sold apart."]
    [cut, note] = blocks(manual)[:2]
    assert ({box.page for box in cut.boxes}, {box.page for box in note.boxes}) == ({1, 2}, {1})


def test_notes_at_the_foot_stay_in_their_section(tmp_path: Path) -> None:
    notes = [(72, 90, 6, "1"), (76, 86, 8, "See the list of lamps.")]
    first = [(72, 730, 16, "Stands"), *prose(700), (72, 622, 10, "It fits them all."), *notes]
    second = [(72, 700, 16, "Lamps"), *prose(670), (72, 592, 10, "There are two.")]
    manual = parse_words(tmp_path, first, second)
    ends = [(section.path[-1], section.blocks[-1].text) for section in manual.sections]
    assert ends[0] == ("Stands", "¹ See the list of lamps.")
    assert ends[1][0] == "Lamps" and ends[1][1].endswith("There are two.")


def test_a_signal_word_above_its_text_makes_it_a_warning(tmp_path: Path) -> None:
    page = [
        *prose(700),
        (90, 590, 14, "Warning"),
        (90, 566, 10, "The glass is hot."),
        (90, 540, 14, "Tip"),
        (90, 516, 10, "Wait."),
    ]
    manual = parse_words(tmp_path, page)
    assert [(block.kind, block.text) for block in blocks(manual)[-2:]] == [
        ("warning", "WARNING: The glass is hot."),
        ("paragraph", "TIP: Wait."),
    ]
    assert len(outline(manual)) == 1


def test_a_mark_in_the_margin_does_not_move_the_text_after_it(tmp_path: Path) -> None:
    hint = [(110, 560, 10, "Hint: You find it by a click on"), (220, 536, 10, "Help"), (148, 512, 10, "in the menu bar.")]
    page = [*prose(700), *hint, (560, 540, 24, "!"), (72, 470, 10, "Then the lamp begins to blink, and goes on for a minute.")]
    found = texts(parse_words(tmp_path, page))
    assert found.index("in the menu bar.") < found.index("Then the lamp begins to blink, and goes on for a minute.")


def test_terms_and_their_texts_may_stand_as_far_apart_as_paragraphs(tmp_path: Path) -> None:
    listed = [(72, 560, 10, "Announcements"), (90, 538, 10, "of new lamps and offers;"), (72, 516, 10, "Downloads")]
    page = [*prose(700), *listed, (90, 494, 10, "of all the manuals.")]
    assert texts(parse_words(tmp_path, page))[-2:] == [
        "Announcements: of new lamps and offers;",
        "Downloads: of all the manuals.",
    ]
