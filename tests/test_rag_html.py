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
