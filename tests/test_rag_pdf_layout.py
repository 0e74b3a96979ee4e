"""PDF pages as designers lay them out: tables without rules, columns, labelled figures, merged cells, an index."""

from __future__ import annotations

from pathlib import Path

from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, Table, TableStyle
from sample_manuals import BODY, GRID, HEAD, PROSE, SUBHEAD, Draw, blocks, make_pdf, outline, parse_text, texts

from rag.manuals import ParsedManual

Placed = tuple[float, float, str]  # x and y of a line's beginning in points from the bottom left; **bold**


def page(*lines: Placed, size: float = 10) -> Draw:
    def draw(canvas: Canvas) -> list:
        for x, y, text in lines:
            canvas.setFont("Helvetica-Bold" if text.startswith("**") else "Helvetica", size)
            canvas.drawString(x, y, text.strip("*"))
        return []

    return draw


def parse_pages(tmp_path: Path, *pages: Draw) -> ParsedManual:
    return parse_text(tmp_path, "layout.pdf", make_pdf(list(pages)))


def prose(x: float, y: float, *lines: str) -> list[Placed]:
    return [(x, y - 13 * n, line) for n, line in enumerate(lines)]


def test_a_table_without_rules_keeps_its_cells_and_its_section(tmp_path: Path) -> None:
    widths = [120, 150, 190]
    rows = [
        ["<b>Problem</b>", "<b>Possible cause</b>", "<b>Remedy</b>"],
        ["The lamp does not start", "No mains voltage. The room is too cold.", "Check the plug and the fuse."],
        ["No light", "The bulb has come loose or is worn out, as after some 2,000 hours", "Put in another bulb by hand."],
    ]
    table = Table([[Paragraph(cell, BODY) for cell in row] for row in rows], widths)
    manual = parse_pages(tmp_path, lambda c: [Paragraph("Faults", HEAD), Paragraph(PROSE * 3, BODY), table])
    assert outline(manual) == [("Faults",)]
    assert texts(manual, "table") == [
        "Problem | Possible cause | Remedy\n"
        "The lamp does not start | No mains voltage. The room is too cold. | Check the plug and the fuse.\n"
        "No light | The bulb has come loose or is worn out, as after some 2,000 hours | Put in another bulb by hand."
    ]


def test_pairs_without_a_header_row_are_a_line_each(tmp_path: Path) -> None:
    lines = [
        *[(72, 700, "Mains voltage"), (250, 700, "230 V, 50 Hz"), (72, 680, "Power input"), (250, 680, "1.5 kW")],
        *[
            (72, 660, "Oil for the pump at"),
            (72, 647, "temperatures above zero"),
            (250, 660, "SAE 20W30; change it first"),
            (250, 647, "after 10 hours"),
        ],
    ]
    assert texts(parse_pages(tmp_path, page(*lines))) == [
        "Mains voltage 230 V, 50 Hz",
        "Power input 1.5 kW",
        "Oil for the pump at temperatures above zero SAE 20W30; change it first after 10 hours",
    ]


def test_columns_of_prose_are_read_one_after_the_other(tmp_path: Path) -> None:
    left = [
        "Charge the battery before you use the",
        "Lumo lamp. Charging it takes four",
        "hours, and the Charging Dock blinks.",
        "Keep it dry.",
    ]
    right = [
        "The lamp may stay on its dock. If you",
        "leave for long, take it off. A Service",
        "Centre near you replaces the cable.",
    ]
    manual = parse_pages(tmp_path, page(*prose(72, 700, *left), *prose(320, 700, *right)))
    assert texts(manual) == [" ".join(left[:3]), left[3], " ".join(right)] or texts(manual) == [" ".join(left), " ".join(right)]


def test_numbered_names_in_columns_are_listed_in_their_order(tmp_path: Path) -> None:
    rows = [("1 Power button", "4 Drip tray"), ("2 Grinder dial", "5 Steam wand"), ("3 Water tank", "6 Service door")]
    lines = [(x, 600 - 13 * n, text) for n, row in enumerate(rows) for x, text in zip((72, 300), row, strict=True)]
    manual = parse_pages(tmp_path, page((72, 650, "The parts are these."), *lines))
    assert texts(manual)[1:] == sorted(text for row in rows for text in row)


def test_labels_drawn_last_are_gathered_where_their_figure_stands(tmp_path: Path) -> None:
    full = "The lamp keeps the last of its three levels of light when you turn the wheel at the back of the"
    text = [
        (72, 720, "Look at the lamp."),
        (72, 450, "Figure 1"),
        *prose(72, 380, full, "foot. When you then switch it off with the button, and on again,"),
    ]
    labels = [(90, 640, "Shade"), (300, 600, "Arm"), (90, 520, "Wheel with"), (90, 508, "ring")]
    following = page((72, 720, "the light comes back as it was."))
    manual = parse_pages(tmp_path, page(*text, *labels), following, following)
    assert texts(manual)[:3] == ["Look at the lamp.", "Shade; Arm; Wheel with ring.", "Figure 1"]
    assert "switch it off with the button, and on again, the light comes back as it was." in texts(manual)[3]


def test_merged_cells_count_for_all_their_rows_and_columns(tmp_path: Path) -> None:
    sizes = Table(
        [["Model", "Size (mm)", ""], ["", "Width", "Height"], ["L-3", "120", "400"], ["L-5", "150", "600"]],
        style=TableStyle([*GRID.getCommands(), ("SPAN", (0, 0), (0, 1)), ("SPAN", (1, 0), (2, 0))]),
    )
    codes = Table(
        [["Code", "Cause", "Action"], ["F12", "No bulb", "Put one in"], ["", "Loose bulb", "Screw it in"]],
        style=TableStyle([*GRID.getCommands(), ("SPAN", (0, 1), (0, 2))]),
    )
    manual = parse_pages(tmp_path, lambda c: [Paragraph(PROSE, BODY), sizes, Paragraph(PROSE, BODY), codes])
    assert texts(manual, "table") == [
        "Model | Size (mm) Width | Size (mm) Height\nL-3 | 120 | 400\nL-5 | 150 | 600",
        "Code | Cause | Action\nF12 | No bulb | Put one in\nF12 | Loose bulb | Screw it in",
    ]


def test_ruled_pairs_without_a_header_row_lose_none(tmp_path: Path) -> None:
    pairs = Table([["Weight", "2.4 kg"], ["Cable", "1.8 m"]], style=GRID)
    manual = parse_pages(tmp_path, lambda c: [Paragraph(PROSE, BODY), pairs])
    assert texts(manual)[1:] == ["Weight: 2.4 kg", "Cable: 1.8 m"]


def test_a_line_that_had_room_for_the_next_word_ends_its_paragraph(tmp_path: Path) -> None:
    longest = "The lamp keeps the last of its three levels of light, also when it is cut off from the mains, and so"
    lines = [
        "does the ring around its shade, which shows them in white or, when the bulb is old, in red.",
        "It is quiet.",
        longest,
    ]
    manual = parse_pages(tmp_path, page(*prose(72, 700, longest, *lines)))
    assert texts(manual) == [f"{longest} {lines[0]}", "It is quiet.", longest]


def test_the_index_at_the_end_is_not_searched(tmp_path: Path) -> None:
    words = "arm bulb cable dock error foot glass heat lamp mains plug ring shade wheel".split()
    index = page((72, 700, "**Index"), *[(72, 680 - 13 * n, f"{word}, {n % 3 + 1}") for n, word in enumerate(words)])
    manual = parse_pages(tmp_path, lambda c: [Paragraph("Care", HEAD), Paragraph(PROSE, BODY)], index)
    assert texts(manual)[-1] == PROSE.strip()


def test_headings_of_one_page_have_levels_and_may_be_numbered(tmp_path: Path) -> None:
    label = ParagraphStyle("label", parent=SUBHEAD)
    alarms = [Paragraph("Alarms", HEAD), Paragraph("Fill tank", label), Paragraph(PROSE, BODY), Paragraph("Descale", label)]
    rest = [
        Paragraph(PROSE, BODY),
        Paragraph("Modes", HEAD),
        Paragraph("2- Using the lamp by REMOTE control:", label),
        Paragraph(PROSE, BODY),
    ]
    manual = parse_pages(tmp_path, lambda c: [*alarms, *rest])
    assert outline(manual) == [("Alarms", "Fill tank"), ("Alarms", "Descale"), ("Modes", "2- Using the lamp by REMOTE control")]


def test_chapters_without_numbers_head_their_numbered_sections(tmp_path: Path) -> None:
    section = ParagraphStyle("section", parent=SUBHEAD, fontSize=13)
    names = [("Operation", "2.1 Switching on"), ("", "2.2 Charging"), ("Service", "3.1 Blades"), ("", "3.2 Cleaning")]
    pages = [
        lambda c, chapter=chapter, name=name: [
            *([Paragraph(chapter, HEAD)] if chapter else []),
            Paragraph(name, section),
            Paragraph(PROSE, BODY),
        ]
        for chapter, name in names
    ]
    paths = outline(parse_pages(tmp_path, *pages))
    assert paths == [("Operation", names[0][1]), ("Operation", names[1][1]), ("Service", names[2][1]), ("Service", names[3][1])]


def test_lines_across_a_table_stay_in_it(tmp_path: Path) -> None:
    rows = [
        ("**Item", "**VS-100", "**VS-200"),
        ("**Electrical",),
        ("Voltage", "230 V", "400 V"),
        ("**Mechanical",),
        ("Weight", "18 kg", "24 kg"),
    ]
    lines = [(72 + 150 * m, 700 - 18 * n, text) for n, row in enumerate(rows) for m, text in enumerate(row)]
    manual = parse_pages(tmp_path, page((72, 740, "All values are without packaging."), *lines))
    assert texts(manual, "table") == [
        "Item | VS-100 | VS-200\nElectrical |  | \nVoltage | 230 V | 400 V\nMechanical |  | \nWeight | 18 kg | 24 kg"
    ]


def test_the_large_number_of_a_step_belongs_to_its_text(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> list:
        for n, text in enumerate(("Mark two holes.", "Drill them 6 mm wide.", "Hang up the shelf."), 1):
            canvas.setFont("Helvetica-Bold", 18)
            canvas.drawString(72, 700 - 60 * n, str(n))
            canvas.setFont("Helvetica", 10)
            canvas.drawString(120, 702 - 60 * n, text)
        return []

    steps = texts(parse_pages(tmp_path, draw), "step")
    assert steps == ["1. Mark two holes.", "2. Drill them 6 mm wide.", "3. Hang up the shelf."]


def test_notes_warnings_and_addresses_are_whole(tmp_path: Path) -> None:
    manual = parse_pages(
        tmp_path,
        page(
            (72, 700, "Note"),
            (72, 687, "The lamp rinses itself."),
            *prose(72, 640, "Look at https://lamps.example/manuals/lumo-three-user-", "guide/index.html for news."),
        ),
    )
    assert texts(manual) == [
        "NOTE: The lamp rinses itself.",
        "Look at https://lamps.example/manuals/lumo-three-user-guide/index.html for news.",
    ]
    marked = parse_text(tmp_path, "mark.md", "⚠ Danger of burns! Steam comes out.\n")
    assert [(block.kind, block.text) for block in blocks(marked)] == [("warning", "Danger of burns! Steam comes out.")]
