"""Parsing: what comes out of each kind of file, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import docx
import psutil
import pytest
from docx.shared import Pt
from sample_manuals import blocks, guide_pages, make_docx, make_pdf, make_zip, outline, parse_text, texts

from emendo.records import Block, UserError
from rag.manuals import ManualFile, ParsedManual, ParseLimits, find_manuals, parse, parse_batch, parse_isolated

MARKDOWN = """---
title: Lumo 3 desk lamp
---
# Lumo 3

Keep this guide.

## Set-up

1. Screw the arm to the base.
2. Plug in the cable:
   the red side faces up.

> **WARNING** The bulb gets hot.

> [!NOTE]
> The lamp remembers its last level.

| Code | Meaning |
|------|---------|
| E1   | Too hot |
| E2   | No bulb |

### Care

Wipe with a **dry** [cloth](http://example.org).
- No water
"""


def test_markdown_gives_headings_steps_tables_and_warnings(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "lamp.md", MARKDOWN)
    assert manual.document.title == "Lumo 3 desk lamp"
    assert outline(manual) == [("Lumo 3",), ("Lumo 3", "Set-up"), ("Lumo 3", "Set-up", "Care")]
    assert texts(manual, "step") == ["1. Screw the arm to the base.", "2. Plug in the cable: the red side faces up."]
    assert texts(manual, "warning") == ["WARNING: The bulb gets hot."]
    assert "NOTE: The lamp remembers its last level." in texts(manual, "paragraph")
    assert texts(manual, "table") == ["Code | Meaning\nE1 | Too hot\nE2 | No bulb"]
    assert texts(manual)[-2:] == ["Wipe with a dry cloth.", "- No water"]


def test_a_list_of_links_into_the_page_is_its_table_of_contents_and_not_read(tmp_path: Path) -> None:
    contents = "- [Why is D4 the default pin?](#why)\n- [Segments](#segments)\n  - [Gone after a reboot!](#gone)\n"
    links = "- [The shop](http://example.org)\n- [Wipe](#wipe) with a dry cloth.\n"
    manual = parse_text(tmp_path, "faq.md", f"# FAQ\n\n{contents}\n## Why is D4 the default pin?\n\nIt has a pull-up.\n\n{links}")
    assert texts(manual) == ["It has a pull-up.", "- The shop", "- Wipe with a dry cloth."]


def test_mkdocs_admonitions_become_warnings(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "a.md", '# A\n\n!!! warning "Fuse"\n    Cut the power first.\n\nThen go on.\n')
    assert texts(manual) == ["WARNING: Fuse: Cut the power first.", "Then go on."]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("WARNING! Hot.", Block("warning", "WARNING: Hot.")),
        ("**Warning:** Hot.", Block("warning", "WARNING: Hot.")),
        ("Note: **never** wash it.", Block("paragraph", "NOTE: **never** wash it.")),
        ("Caution: sharp edges.", Block("warning", "CAUTION: sharp edges.")),
        ("⚠ DANGER Live parts.", Block("warning", "DANGER: Live parts.")),
        ("警告：请勿打开外壳。", Block("warning", "警告: 请勿打开外壳。")),
        ("Achtung: Gerät ist heiß.", Block("warning", "ACHTUNG: Gerät ist heiß.")),
        ("1、拔下电源。", Block("step", "1. 拔下电源。")),
        ("Warning lights are red.", Block("paragraph", "Warning lights are red.")),
        ("Notes on safety", Block("paragraph", "Notes on safety")),
        ("DO NOT open the case.", Block("warning", "DO NOT open the case.")),
        ("3) Press MODE.", Block("step", "3. Press MODE.")),
        ("Step2: Open the lid.", Block("step", "2. Open the lid.")),
        ("b) Two screws", Block("list_item", "b) Two screws")),
        ("3.5 mm jack", Block("paragraph", "3.5 mm jack")),
        ("• Two screws", Block("list_item", "- Two screws")),
    ],
)
def test_first_words_tell_the_kind(tmp_path: Path, line: str, expected: Block) -> None:
    assert blocks(parse_text(tmp_path, "one.txt", f"{line}\n")) == [expected]


def test_text_pages_carry_the_printed_number_and_lose_their_furniture(tmp_path: Path) -> None:
    pages = [f"Lumo 3 Manual\n\nText of page {n} goes on and on.\nThe end of {n}.\n- {n} -" for n in range(7, 13)]
    for separator in ("\n", "\n\f"):
        manual = parse_text(tmp_path, "paged.txt", separator.join(pages))
        assert manual.document.pages == 12
        assert {block.page for block in blocks(manual)} == set(range(7, 13))
        assert not any("Lumo 3 Manual" in text or re.search(r"- \d+ -", text) for text in texts(manual))


def test_a_sentence_cut_by_a_page_is_joined(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "cut.txt", "Press the button until the\n- 1 -\nring turns amber.\n- 2 -\n")
    assert texts(manual) == ["Press the button until the ring turns amber."]


def test_text_headings_by_underline_number_and_capitals(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "h.txt", "Lamp\n====\n\nA.\n\n2.1 Daily use\n\nB.\n\nERROR CODES\n\nC.\n")
    assert outline(manual) == [("Lamp",), ("Lamp", "2.1 Daily use"), ("Lamp", "ERROR CODES")]


def test_wiki_headings_of_either_order(tmp_path: Path) -> None:
    zim = (
        "Content-Type: text/x-zim-wiki\nWiki-Format: zim 0.4\n\n====== Lamp ======\nA.\n===== Care =====\nB.\n==== Oil ====\nC.\n"
    )
    media = "= Lamp =\nA.\n== Care ==\nB.\n=== Oil ===\nC.\n"
    for name, text in (("zim.txt", zim), ("media.txt", media)):
        manual = parse_text(tmp_path, name, text)
        assert outline(manual) == [("Lamp",), ("Lamp", "Care"), ("Lamp", "Care", "Oil")]
        assert texts(manual) == ["A.", "B.", "C."]


def test_the_border_of_a_text_table_is_no_wiki_heading(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "t.txt", "====  =======  ====\nCode  Meaning  Cure\n====  =======  ====\n")
    assert outline(manual) == [()]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_found(tmp_path: Path, encoding: str) -> None:
    text = "Die Temperatur beträgt 90 °C, wenn das Gerät läuft. Drücken Sie die Taste für die Wärme."
    assert texts(parse_text(tmp_path, "de.txt", text.encode(encoding))) == [text]


def test_csv_is_one_table(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "codes.csv", "Code;Meaning\nE1;Too hot, wait\n")
    assert texts(manual, "table") == ["Code | Meaning\nE1 | Too hot, wait"]


HTML = """<html><head><title>Care &mdash; Lumo documentation</title><script>var x = 1;</script></head><body>
<nav><a href="x">Home</a> <a>Next page</a></nav>
<div role="main"><h1>Care<a class="headerlink">¶</a></h1>
<p>Wipe it with a <b>dry</b> cloth
<b>only</b>
.</p><div class="admonition warning"><p class="admonition-title">Warning</p><p>Unplug it first.</p></div>
<ol start="4"><li>Open the lid.</li><li>Close it.</li></ol>
<table><tr><th>Code</th><th>Meaning</th></tr><tr><td>E1</td><td>Too hot</td></tr></table>
<table><tr><td><img src="icon.png"></td><td><h3>Filter</h3><p>Change it yearly.</p></td></tr></table>
<dl><dt>Level</dt><dd>How bright it is.<dl><dt>Low</dt><dd>For reading.</dd></dl></dd></dl></div>
<footer>Copyright by nobody</footer></body></html>"""


def test_html_keeps_the_main_content_only(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "care.html", HTML)
    assert (manual.document.title, manual.document.product) == ("Lumo: Care", "Lumo")
    assert outline(manual) == [("Care",), ("Care", "Filter")]
    assert texts(manual) == [
        "Wipe it with a dry cloth only.",
        "WARNING: Unplug it first.",
        "4. Open the lid.",
        "5. Close it.",
        "Code | Meaning\nE1 | Too hot",
        "Change it yearly.",
        "Level: How bright it is.",
        "Low: For reading.",
    ]


def test_rst_directives_and_roles_are_read_for_their_text(tmp_path: Path) -> None:
    source = (
        "Lamp\n====\n\nSee :doc:`the care page <care>`.\n\n.. warning:: Hot bulb.\n\n.. versionadded:: 2.0\n\n"
        "Steps\n-----\n\n#. Open.\n#. Close.\n\n.. toctree::\n   other\n\n.. include:: /etc/passwd\n"
    )
    manual = parse_text(tmp_path, "lamp.rst", source)
    assert outline(manual) == [("Lamp",), ("Lamp", "Steps")]
    assert texts(manual) == ["See the care page.", "WARNING: Hot bulb.", "Added in version 2.0.", "1. Open.", "2. Close."]


def test_options_of_rest_stand_in_the_text_that_explains_them(tmp_path: Path) -> None:
    source = (
        "Options\n=======\n\n-a, --all  Show all lamps.\n\n.. option:: --dim=LEVEL\n\n   Dim it.\n\n   Not in the bath.\n\n"
        ".. confval:: idle_time\n\n   Seconds.\n\n.. note::\n\n   Keep dry.\n\n.. code-block:: sh\n\n   lamp on\n"
    )
    manual = parse_text(tmp_path, "options.rst", source)
    assert texts(manual) == [
        "-a, --all: Show all lamps.",
        "--dim=LEVEL: Dim it.",
        "Not in the bath.",
        "idle_time: Seconds.",
        "NOTE: Keep dry.",
        "lamp on",
    ]


def test_docx_numbers_tables_frames_and_text_boxes(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "guide.docx", make_docx())
    assert manual.document.title == "Lumo 3 user guide"
    assert outline(manual) == [(), ("Set-up",), ("Set-up", "Care")]
    assert texts(manual) == [
        "Lumo 3 user guide",
        "1. Open the box.",
        "2. Take out the lamp.",
        "- A spare bulb",
        "Code | Meaning\nE1 | Too hot",
        "DO NOT touch the bulb.",
        "Wipe it.",
        "CAUTION: let it cool first.",
    ]


def test_docx_without_heading_styles_gets_its_bold_lines_as_headings(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_paragraph().add_run("SAFETY:").bold = True
    document.add_paragraph("Read this first.")
    document.add_paragraph().add_run("Unplug the lamp before you open it.").bold = True
    document.add_paragraph().add_run("Cleaning the shade").font.size = Pt(18)
    document.add_paragraph("Use a dry cloth.")
    document.add_heading("Parts", 1)
    document.add_paragraph().add_run("Bold label").bold = True
    document.save(tmp_path / "plain.docx")
    manual = parse(ManualFile(tmp_path / "plain.docx", "plain.docx"))
    assert outline(manual) == [("SAFETY",), ("Cleaning the shade",), ("Parts",)]
    assert texts(manual) == ["Read this first.", "Unplug the lamp before you open it.", "Use a dry cloth.", "Bold label"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.pdf", b"", "empty"),
        ("blank.txt", b" \n", "empty"),
        ("not.pdf", b"GIF89a nothing", "not a PDF"),
        ("damaged.pdf", b"%PDF-1.4\n1 0 obj\n<<", "damaged"),
        ("locked.pdf", make_pdf([lambda c: []], encrypt="secret"), "password"),
        ("really.txt", b"%PDF-1.7 binary", "looks like a .pdf"),
        ("binary.md", b"abc\x00\x01\x02", "binary"),
        ("old.docx", b"\xd0\xcf\x11\xe0 old", "old .doc"),
        ("damaged.docx", b"PK\x03\x04 not really", "not a readable .docx"),
        ("picture.gif", b"GIF89a", "not a kind of file"),
    ],
)
def test_bad_files_name_the_file_and_the_cure(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parse_text(tmp_path, name, data)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_find_manuals_walks_sorts_and_stays_inside(tmp_path: Path) -> None:
    folder = tmp_path / "manuals"
    for name in ("b.md", "a/Quick Start.txt", ".hidden.md", ".git/x.md", "photo.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# Text\n")
    (tmp_path / "secret.md").write_text("# Secret\n")
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    found = find_manuals(folder)
    assert [file.source for file in found] == ["a/Quick Start.txt", "b.md"]
    assert found[0].doc_id == "a-quick-start"
    with pytest.raises(UserError, match="no such file"):
        find_manuals(tmp_path / "missing")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no manuals"):
        find_manuals(tmp_path / "none")


def test_zip_is_read_in_place(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "m.zip", {"docs/a.md": b"# A\n\nText.", "__MACOSX/docs/a.md": b"x", "pic.png": b"x"})
    (file,) = find_manuals(path)
    assert (file.source, file.doc_id) == ("docs/a.md", "docs-a")
    assert texts(parse_isolated(file)) == ["Text."]


@pytest.mark.parametrize("name", ["../evil.md", "/etc/evil.md", "a/../../evil.md", "C:\\evil.md"])
def test_zip_path_tricks_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="outside the archive"):
        find_manuals(make_zip(tmp_path / "m.zip", {name: b"# x"}))


def test_zip_bombs_are_refused_also_as_docx(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", {"a.md": b"\0" * 30_000_000})
    with pytest.raises(UserError, match="zip bomb"):
        find_manuals(bomb)
    with pytest.raises(UserError, match="zip bomb"):
        parse_text(tmp_path, "bomb.docx", bomb.read_bytes())


def test_isolated_gives_the_same_as_in_process(tmp_path: Path) -> None:
    path = tmp_path / "guide.pdf"
    path.write_bytes(make_pdf(guide_pages()))
    file = ManualFile(path, "guide.pdf")
    assert parse_isolated(file, "Lumo 3") == parse(file, "Lumo 3")


def test_one_bad_file_does_not_stop_the_batch(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nText.")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 broken")
    (tmp_path / "c.md").write_text("# C\n\nText.")
    results = [result for _, result in parse_batch(find_manuals(tmp_path))]
    assert [type(result) for result in results] == [ParsedManual, UserError, ParsedManual]
    assert "b.pdf" in str(results[1])


def test_a_file_that_takes_too_long_is_given_up_and_the_rest_parsed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "b.md")  # reading it waits for ever
    for name in ("a.md", "c.md"):
        (tmp_path / name).write_text("# A\n\nText.")
    files = [ManualFile(tmp_path / name, name) for name in ("a.md", "b.md", "c.md")]
    results = [result for _, result in parse_batch(files, limits=ParseLimits(seconds=2.5))]
    assert [type(result) for result in results] == [ParsedManual, UserError, ParsedManual]
    assert "not parsed within 2.5 s" in str(results[1])


def test_a_file_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.md"
    path.write_text("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 20_000)
    with pytest.raises(UserError, match=r"big\.md"):
        parse_isolated(ManualFile(path, "big.md"), limits=ParseLimits(memory_mb=80))


def test_the_page_numbers_of_the_real_paged_text_are_the_printed_ones(shared_data: Path) -> None:
    path = shared_data / "emqap" / "docs" / "samsung_tv_smart_remote.paged.txt"
    manual = parse(ManualFile(path, path.name))
    section = next(s for s in manual.sections if s.path[-1:] == ("Using Smart Hub",))
    assert {block.page for block in section.blocks} == {8, 9}


def test_a_batch_that_is_given_up_ends_its_child(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nText.")
    os.mkfifo(tmp_path / "b.md")
    before = set(psutil.Process().children())
    batch = parse_batch([ManualFile(tmp_path / name, name) for name in ("a.md", "b.md")])
    next(batch)
    (child,) = set(psutil.Process().children()) - before
    batch.close()
    assert not child.is_running()


def test_codes_that_head_their_own_text_become_sections(tmp_path: Path) -> None:
    codes = ["E01 - Too hot\n\nLet it cool.", "E02 - No bulb\n\nPut one in.", "E03 - Wheel blocked\n\nCall service."]
    manual = parse_text(tmp_path, "codes.md", "# Codes\n\nRead the display.\n\n" + "\n\n".join(codes))
    names = ["E01 - Too hot", "E02 - No bulb", "E03 - Wheel blocked"]
    assert outline(manual) == [("Codes",), *(("Codes", name) for name in names)]
    assert texts(manual)[1:3] == ["E01 - Too hot", "Let it cool."]
    menu = parse_text(tmp_path, "menu.md", "# Menu\n\nE01 - Level\n\nE02 - Timer\n\nE03 - Lock\n\nThat is all.")
    assert outline(menu) == [("Menu",)]
