"""Answers, sources and corrections as HTML: nothing that a model, a manual or a user wrote becomes markup."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from emendo.records import Answer, Chunk, Citation, Correction, Hit
from serve.examples import example_questions, question_of
from serve.render import answer_html, answer_text, page_label, partial_html, passage_html, sources_html, support
from serve.render_pages import correction_html, diff_html
from sft.faults import fault_of

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=http://evil.example/x.png onerror=alert(1)>",
    "![pixel](http://evil.example/p.png)",
    "[click](javascript:alert(1))",
    "<http://evil.example>",
    "[a]\n\n[a]: http://evil.example",
    '```x" onload="alert(1) [1]\ncode\n```',
    "    <iframe src='//evil.example'>",
    '"><svg onload=alert(1)>',
    "| <img src=x onerror=alert(1)> | [x](javascript:alert(1)) |\n|---|---|\n| <script>alert(1)</script> | y |",
    "E1 | <img src=x onerror=alert(1)> [1]",
]
SAFE_TAGS = set(
    "div p span button b br ol ul li em strong code hr h1 h2 h3 h4 article header footer details summary dl dt dd "
    "table thead tbody tr th td mark section del ins blockquote".split()
)


class Tags(HTMLParser):
    """Collects tags and attribute names."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str | None]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value)


def make_answer(text: str = "Use a dry cloth. [1]", supported: bool = True, heading: str = "Care", passage: str = "") -> Answer:
    chunk = Chunk("c1", "lamp", "Lamp", "", ("Lamp", heading), passage or "Use a dry cloth.\nNever water.", "Lamp > Care", (3,))
    citation = Citation(1, "c1", "lamp", "Lamp", chunk.section, (3,), "lamp.md", text.removesuffix(" [1]"), supported)
    hit = Hit(chunk, 1.0, 1, {"lexical_rank": 1.0})
    abstained = text == "The manual does not say."
    return Answer(
        "a",
        "How?",
        "How?",
        text,
        () if abstained else (citation,),
        (hit,),
        abstained,
        0.8,
        "quote",
        "",
        "p",
        "i",
        {"retrieve": 0.1},
    )


def test_options_of_commands_are_kept_whole_and_hyphens_in_words_are_not() -> None:
    text = "Start it with --no-serve or -p, not `make -k-all`: well-known pre- and post-steps, -5 °C. [1]"
    for page in (answer_text(text, make_answer().hits), passage_html(text)):
        assert re.findall(r'<span class="option">([^<]*)</span>', page) == ["--no-serve", "-p", "-k-all"]


@pytest.mark.parametrize(
    ("products", "told"),
    [
        ((), ""),
        (("A", "B"), "The same in: A, B<"),
        (("A", "B", "C", "D"), "The same in: A, B, C, D<"),
        (("A", "B", "C", "D", "<E>"), "The same in: A, B, C and 2 more<"),
    ],
)
def test_a_source_names_the_products_whose_manuals_say_the_same(products: tuple[str, ...], told: str) -> None:
    answer = make_answer()
    page = sources_html(replace(answer, hits=(replace(answer.hits[0], also_in=products),)))
    assert told in page
    assert ("The same in" in page) == bool(products)
    assert all(html.escape(product) in page for product in products)
    assert "<E>" not in page


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_wherever_it_comes_from(text: str) -> None:
    answer = make_answer(text, heading=text, passage=text)
    correction = Correction(
        "k", "a", text, answer.hits, text, f"{text} more", ("c1",), False, text, text, "2026-01-01T00:00:00", "open"
    )
    for page in (
        answer_html(answer),
        partial_html(text),
        sources_html(answer),
        correction_html(1, correction, fault_of(correction), [("email", text)], {2: correction}),
    ):
        found = Tags(page)
        assert found.tags <= SAFE_TAGS, found.tags - SAFE_TAGS
        assert not {name for name in found.attributes if name.startswith("on") or name in ("src", "href", "style")}


def test_a_citation_becomes_a_mark_that_names_its_place() -> None:
    page = answer_html(make_answer())
    assert '<span class="cite" role="button" tabindex="0" title="Lamp › Care, p. 3">1</span>' in page


def test_answers_hold_no_blank_line_that_would_end_the_html_block() -> None:
    page = answer_html(make_answer("First.\n\nSecond.\n\n- a\n- b [1]"))
    assert "\n" not in page
    assert page.count("<li>") == 2


@pytest.mark.parametrize(
    ("text", "supported", "kind"),
    [("Yes. [1]", True, "supported"), ("Yes. [1]", False, "unsupported"), ("The manual does not say.", True, "refused")],
)
def test_the_badge_says_how_far_an_answer_is_supported(text: str, supported: bool, kind: str) -> None:
    answer = make_answer(text, supported)
    assert support(answer)[0] == kind
    assert f'class="badge {kind}"' in answer_html(answer)


def test_one_supported_of_two_citations_is_partly() -> None:
    answer = make_answer()
    good, bad = answer.citations[0], make_answer(supported=False).citations[0]
    assert support(Answer(**{**vars(answer), "citations": (good, bad)}))[0] == "partly"


def test_a_quoted_sentence_is_marked_in_its_passage() -> None:
    page = sources_html(make_answer())
    assert re.findall("<mark>(.*?)</mark>", page) == ["Use a dry cloth."]


def test_a_table_passage_is_shown_as_a_table() -> None:
    page = passage_html("Before\nCode | Meaning\nE1 | Too hot\nAfter")
    assert "<th>Code</th><th>Meaning</th>" in page
    assert "<td>E1</td><td>Too hot</td>" in page
    assert page.startswith("<p>Before</p>")
    assert page.endswith("<p>After</p>")


def test_a_quoted_table_row_is_shown_under_its_header_in_answer_and_passage() -> None:
    answer = make_answer("Two rows tell:\nE1 | Too <b>hot</b> [1]\nE2 | Dry [1]")
    hit = answer.hits[0]
    chunk = replace(hit.chunk, text="Before\nCode | Meaning\nE1 | Too <b>hot</b>\nE2 | Dry")
    text = answer_text(answer.text, [replace(hit, chunk=chunk)])
    assert text.count("<th>Code</th><th>Meaning</th>") == 1
    assert "<td>E1</td><td>Too &lt;b&gt;hot&lt;/b&gt;<span" in text
    assert text.startswith("<p>Two rows tell:</p>")
    assert "<th>" not in answer_text("E1 | Too hot", ()), "while it is written its passage is not known"
    page = passage_html(chunk.text, ["E1 | Too <b>hot</b>"])
    assert re.findall("<mark>(.*?)</mark>", page) == ["E1", "Too &lt;b&gt;hot&lt;/b&gt;"]


def test_a_models_own_markdown_table_is_a_table() -> None:
    assert "<td>Too hot</td>" in answer_text("| Code | Meaning |\n|---|---|\n| E1 | Too hot |", ())


def test_uncited_passages_are_folded_below_the_cited_ones() -> None:
    answer = make_answer()
    both = Answer(**{**vars(answer), "hits": (*answer.hits, Hit(answer.hits[0].chunk, 0.5, 2))})
    page = sources_html(both)
    assert page.index('id="source-1"') < page.index("<details><summary>1 more passage read") < page.index('id="source-2"')


def test_the_diff_marks_only_the_changed_words() -> None:
    before, after = diff_html("Wipe with <water> daily.", "Wipe with alcohol daily.")
    assert before == "Wipe with <del>&lt;water&gt;</del> daily."
    assert after == "Wipe with <ins>alcohol</ins> daily."


def test_page_labels() -> None:
    assert [page_label(pages) for pages in ((), (4,), (5, 4, 6), (9, 4))] == ["", "p. 4", "pp. 4–6", "pp. 4, 9"]


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("Replacing the battery", "How do I replace the battery?"),
        ("Setting up", "How do I set up?"),
        ("How to use it", "How do I use it?"),
        ("Why does it blink?", "Why does it blink?"),
        ("Charging time", "What does the manual say about charging time?"),
        ("LCD brightness", "What does the manual say about LCD brightness?"),
    ],
)
def test_headings_become_questions(heading: str, question: str) -> None:
    assert question_of(heading) == question


def test_example_questions_prefer_actions_and_take_turns_among_documents() -> None:
    lamp = [("Lamp", "Contents"), ("Lamp", "Warranty"), ("Lamp", "3.1 Cleaning the shade"), ("Lamp", "3.1 Cleaning the shade")]
    first, *rest = example_questions([lamp, [("Pan", "Storing it")]])
    assert first == "How do I clean the shade?"
    assert rest == ["How do I store it?", "What does the manual say about warranty?"]
