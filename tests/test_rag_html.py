"""HTML pages as DocBook, Texinfo, Asciidoctor, Doxygen and LaTeX2HTML write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_manuals import blocks, outline, parse_text, texts

from rag.manuals import ParsedManual

DOCBOOK = """<html><head><title>Chapter 2. Care</title>
<link rel="home" href="index.html" title="Lumo Handbook"/><link rel="next" href="ch03.html" title="Chapter 3. Repair"/></head>
<body>
<div class="NAVHEADER"><table><tr><th colspan="3">Chapter 2. Care</th></tr>
<tr><td><a accesskey="p" href="ch01.html">Prev</a></td><td></td>
<td><a accesskey="n" href="ch03.html">Next</a></td></tr></table></div>
<h1>Chapter 2. Care</h1><p>Wipe the lamp with a dry cloth.</p>
<div class="warning"><h3 class="title">Warning</h3><p>Pull the plug first.</p></div>
<div class="tip"><table><tr><td rowspan="2"><img src="tip.png"/></td><th>Tip</th></tr>
<tr><td>A brush helps.</td></tr></table></div>
<p>Then let it dry.</p>
<div class="navfooter"><table><tr><td><a accesskey="n" href="ch03.html">Next</a></td></tr></table></div></body></html>"""


def parse_html(tmp_path: Path, text: str, name: str = "care.html") -> ParsedManual:
    return parse_text(tmp_path, name, text)


def test_docbook_names_its_book_and_loses_its_navigation(tmp_path: Path) -> None:
    manual = parse_html(tmp_path, DOCBOOK)
    assert (manual.document.title, manual.document.product) == ("Lumo Handbook: Chapter 2. Care", "Lumo Handbook")
    assert outline(manual) == [("Chapter 2. Care",)]
    assert [(block.kind, block.text) for block in blocks(manual)] == [
        ("paragraph", "Wipe the lamp with a dry cloth."),
        ("warning", "WARNING: Pull the plug first."),
        ("paragraph", "TIP: A brush helps."),
        ("paragraph", "Then let it dry."),
    ]


def test_texinfo_names_its_manual_and_loses_its_navigation(tmp_path: Path) -> None:
    manual = parse_html(
        tmp_path,
        '<html><head><title>Timer (Lumo Manual)</title><meta name="Generator" content="makeinfo"></head><body>'
        '<div class="header"><p>Next: <a href="b.html" accesskey="n" rel="next">Care</a>, Up: <a href="index.html">Top</a></p>'
        '</div><h2>3 Timer</h2><dl><dt>timer <var>minutes</var><a class="copiable-link" href="#x"> &para;</a></dt>'
        "<dd><p>Turns the lamp off.</p></dd></dl></body></html>",
    )
    assert (manual.document.title, manual.document.product) == ("Lumo Manual: Timer", "Lumo Manual")
    assert texts(manual) == ["timer minutes: Turns the lamp off."]


def test_asciidoctor_admonitions_are_no_tables(tmp_path: Path) -> None:
    cell = '<td class="icon"><div class="title">{0}</div></td><td class="content">{1}</td>'
    box = '<div class="admonitionblock {0}"><table><tr>' + cell + "</tr></table></div>"
    boxes = box.format("Caution", "The glass is hot.") + box.format("Note", "It hums.")
    manual = parse_html(tmp_path, f"<html><body><h1>Use</h1>{boxes}<div id='footer'>Last updated today</div></body></html>")
    assert texts(manual) == ["CAUTION: The glass is hot.", "NOTE: It hums."]


def test_doxygen_listings_are_code_and_its_head_is_dropped(tmp_path: Path) -> None:
    line = '<div class="line"><a name="l1"></a><span class="lineno"> 1</span>{0}</div>'
    manual = parse_html(
        tmp_path,
        '<html><head><title>lumo: Examples</title><meta name="generator" content="Doxygen 1.9"></head><body><div id="top">'
        '<div id="titlearea"><table><tr><td>lumo 2.0</td></tr></table></div></div><div class="contents"><p>Turn the lamp on with '
        'this program, which needs the library:</p><div class="fragment">'
        + line.format("int main() {")
        + line.format("  lamp_on();")
        + "</div></div></body></html>",
    )
    assert (manual.document.title, manual.document.product) == ("lumo: Examples", "lumo")
    assert texts(manual, "code") == ["int main() {\n  lamp_on();"]
    assert not any("2.0" in text for text in texts(manual))


@pytest.mark.parametrize("place", ["#", "care.html#"])
def test_a_list_of_the_pages_own_headings_is_dropped(tmp_path: Path, place: str) -> None:
    links = "".join(f'<li><a href="{place}{n}">How to clean part {n}</a></li>' for n in range(4))
    manual = parse_html(tmp_path, f"<html><body><p>Contents</p><ul>{links}</ul><h2>Part 1</h2><p>Wipe it.</p></body></html>")
    assert texts(manual) == ["Wipe it."]


def test_a_list_of_links_to_other_places_stays(tmp_path: Path) -> None:
    links = "".join(f'<li><a href="https://lamps.example/{n}">Driver {n}</a></li>' for n in range(4))
    manual = parse_html(tmp_path, f"<html><body><h2>Downloads</h2><ul>{links}</ul></body></html>")
    assert texts(manual) == [f"- Driver {n}" for n in range(4)]


def test_text_that_old_pages_indent_by_lists_is_kept(tmp_path: Path) -> None:
    manual = parse_html(
        tmp_path,
        "<html><body><h1>Camera</h1><ul>The width must be a multiple of 8.<h3>Height</h3><p>So must the height.</p>"
        "<table><tr><td>Type</td><td>Integer</td></tr><tr><td>Range</td><td>0 to 4095</td></tr></table>"
        "<li>An item.</li></ul></body></html>",
    )
    assert texts(manual) == [
        "The width must be a multiple of 8.",
        "So must the height.",
        "Type | Integer\nRange | 0 to 4095",
        "- An item.",
    ]


def test_terms_that_share_a_meaning_are_joined_and_none_is_lost(tmp_path: Path) -> None:
    manual = parse_html(
        tmp_path,
        "<html><body><h1>Options</h1><dl><div><dt>-h</dt><dt>--help:</dt><dd>Prints this.</dd></div>Since version 2:"
        "<dt>-v</dt><dd>Says more.</dd><dt>-q</dt></dl></body></html>",
    )
    assert texts(manual) == ["-h, --help: Prints this.", "Since version 2:", "-v: Says more.", "-q"]


def test_a_short_page_inside_a_layout_table_is_no_navigation(tmp_path: Path) -> None:
    manual = parse_html(
        tmp_path,
        "<html><body><table><tr><td><div id='content'><h1>Battery</h1><p>It lasts for ten hours.</p>"
        "<p class='fragment'>Charge it fully.</p><a rel='next' href='b.html'>Next</a></div></td></tr></table></body></html>",
    )
    assert texts(manual) == ["It lasts for ten hours.", "Charge it fully."]


def test_a_manual_that_is_all_inside_a_contents_list_is_kept(tmp_path: Path) -> None:
    # Sphinx's single page holds every chapter in the element that holds a list of chapters on other pages.
    chapters = '<div class="toctree-wrapper"><section><h2>Care</h2><p>Wipe it dry.</p></section></div>'
    listed = '<div class="toctree-wrapper"><ul><li><a href="care.html">Care of the lamp</a></li></ul></div>'
    manual = parse_html(tmp_path, f"<html><body><h1>Lumo</h1><p>A lamp.</p>{chapters}{listed}</body></html>")
    assert texts(manual) == ["A lamp.", "Wipe it dry."]


def test_a_form_around_the_page_is_no_form(tmp_path: Path) -> None:
    search = "<form><label>Search the manual</label><input/></form>"
    manual = parse_html(tmp_path, f"<html><body>{search}<form><h1>Care</h1><p>Wipe it dry.</p></form></body></html>")
    assert texts(manual) == ["Wipe it dry."]


@pytest.mark.parametrize(
    "bar",
    [
        '<a href="index.html">Home</a> | <a href="map.html">Lamps</a> | <a href="x.html">Parts</a>',
        '<a href="b.html">Next</a> Previous <a href="toc.html#2">Contents</a><hr>',
        '<p>(<a href="#top">back to top</a>)</p>',
        "<table><tr><td>[&lt;]</td><td>[<a href='b.html'>&gt;</a>]</td><td><a href='i.html'>Index</a></td>"
        "<td><a href='t.html'>Lumo</a></td></tr></table>",
        '<p>This document was generated on May 1 using <a href="https://maker.example">a maker</a>.</p>',
    ],
)
def test_bars_of_links_are_dropped(tmp_path: Path, bar: str) -> None:
    manual = parse_html(tmp_path, f"<html><body>{bar}<h1>Care</h1><p>Wipe it dry.</p>{bar}</body></html>")
    assert texts(manual) == ["Wipe it dry."]


def test_sections_of_links_to_other_pages_are_dropped_and_linked_sentences_stay(tmp_path: Path) -> None:
    manual = parse_html(
        tmp_path,
        '<html><body><header><a href="index.html"><p>Lumo 3 Help</p></a></header><h1>Lumo</h1><a href="m.html">Main Page</a>'
        '<h2>Is it waterproof?</h2><p><a href="care.html">Yes.</a></p><h2>Lamps</h2><p>There are three:</p>'
        '<p><a href="a.html">Uno</a>, <a href="b.html">Duo</a></p><h2>Contact</h2>'
        '<p><a href="mailto:help@lamps.example">help@lamps.example</a></p></body></html>',
    )
    assert texts(manual) == ["Yes.", "There are three:", "Uno, Duo", "help@lamps.example"]


def test_bold_lines_are_the_headings_of_a_page_without_any(tmp_path: Path) -> None:
    page = (
        '<html><body><h1>Lumo</h1><p><a name="a"></a><font size="+1"><b>Cleaning it</b></font><p>Press <b>Off</b> first.'
        "<br><b>Storing it</b><br>Keep it dry.<ul><li><b>In winter</b></li></ul><p><b>Warning</b><p>It is hot.{}</body></html>"
    )
    found = parse_html(tmp_path, page.format(""))
    assert outline(found) == [("Lumo", "Cleaning it"), ("Lumo", "Storing it")]
    assert texts(found)[:3] == ["Press Off first.", "Keep it dry.", "- In winter"]
    assert outline(parse_html(tmp_path, page.format("<h2>Repair</h2><p>None."))) == [("Lumo",), ("Lumo", "Repair")]


def test_cells_over_several_rows_and_columns_keep_the_others_in_place(tmp_path: Path) -> None:
    manual = parse_html(
        tmp_path,
        "<html><body><table><tr><th colspan='3'>Settings of the lamp</th></tr><tr><th>Mode</th><th>Level</th><th>Watts</th></tr>"
        "<tr><td rowspan='2'>Night</td><td>1</td><td>2</td></tr><tr><td>2</td><td>4</td></tr>"
        "<tr><td colspan='2'>Off</td><td rowspan='0'>0</td></tr></table></body></html>",
    )
    assert texts(manual) == ["Settings of the lamp", "Mode | Level | Watts\nNight | 1 | 2\nNight | 2 | 4\nOff |  | 0"]


def test_lines_inside_inline_elements_and_paragraphs_that_begin_with_a_dot_are_not_glued(tmp_path: Path) -> None:
    manual = parse_html(
        tmp_path,
        "<html><body><h1>Start</h1><p><code>lumo --pair<br>lumo --on</code></p><p>Two files hold the settings</p>"
        "<p>.lumorc is read first.</p><p>Then <div>lumo.conf</div>, if there is one.</p></body></html>",
    )
    assert texts(manual) == [
        "lumo --pair",
        "lumo --on",
        "Two files hold the settings",
        ".lumorc is read first.",
        "Then",
        "lumo.conf, if there is one.",
    ]


@pytest.mark.parametrize("title", ["Lumo Help - Timers", "Timers - Lumo Help", "Timers ~ Lumo Help"])
def test_the_name_of_the_manual_may_stand_first_in_the_title(tmp_path: Path, title: str) -> None:
    manual = parse_html(
        tmp_path, f"<html><head><title>{title}</title></head><body><h1>2. Timers</h1><p>Set one.</p></body></html>"
    )
    assert (manual.document.title, manual.document.product) == ("Lumo Help: Timers", "Lumo Help")


def test_of_words_that_a_script_chooses_from_the_last_is_read(tmp_path: Path) -> None:
    keys = "<span><span hidden>Command </span><span hidden='true'>Ctrl</span></span>"
    manual = parse_html(tmp_path, f"<html><body><h1>Undo</h1><p>Press {keys}+Z<span hidden>!</span> to undo.</p></body></html>")
    assert texts(manual) == ["Press Ctrl+Z to undo."]
