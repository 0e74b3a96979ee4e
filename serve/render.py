"""Records to HTML. Rendering comes last and is never parsed back.

Every text that a model, a manual or a user wrote is escaped here; links, images and raw HTML of an answer stay plain text, so
that a page never asks another host for anything.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from markdown_it import MarkdownIt

from emendo.records import Answer, Chunk, Hit
from serve.memory import APPROVED
from serve.page_images import PageImage

_MARK = re.compile(r"\s*\[(\d{1,2})\]")
_PLAIN = ["image", "link", "autolink", "reference", "html_block", "html_inline", "fence", "code", "lheading"]
_markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(_PLAIN).enable("table")
SHORT = 12  # characters; a shorter quote is found by chance
_OPTION = re.compile(r"(?<![\w-])--?[^\W\d_][\w-]*")  # of a command: --no-serve
NAMED = 3  # products named of those whose manuals say the same


def escape(text: str) -> str:
    return html.escape(text, quote=True)


def place(title: str, section: Sequence[str], pages: Sequence[int]) -> str:
    """`title › section, p. N` as plain text."""
    path = " › ".join([title, *[heading for heading in section if heading != title]])
    return f"{path}, {page_label(pages)}" if pages else path


def short_section(chunk: Chunk) -> str:
    """The two innermost headings."""
    path = [heading for heading in chunk.section if heading != chunk.title]
    return " › ".join(["…", *path[-2:]] if len(path) > 2 else path)


def page_label(pages: Sequence[int]) -> str:
    """`p. 4`, `pp. 4–6` or `pp. 4, 9`; "" without pages."""
    numbers = sorted(set(pages))
    if len(numbers) < 2:
        return f"p. {numbers[0]}" if numbers else ""
    run = numbers[-1] - numbers[0] == len(numbers) - 1
    return f"pp. {numbers[0]}–{numbers[-1]}" if run else f"pp. {', '.join(map(str, numbers))}"


def support(answer: Answer) -> tuple[str, str]:
    """(badge class, words): stopped, refused, supported (each citation holds), partly, or unsupported (no citation holds)."""
    if answer.stopped:
        return "stopped", "Stopped"
    if answer.model_id.startswith(APPROVED):
        return "approved", "Approved answer"
    if answer.abstained:
        return "refused", "Not in the manual"
    held = [citation.supported for citation in answer.citations]
    if held and all(held):
        return "supported", "Supported by the manual"
    return ("partly", "Partly supported") if any(held) else ("unsupported", "No passage supports this")


def answer_html(answer: Answer, side: str = "", model: str = "") -> str:
    """A finished answer: its text with citation marks, its badge and its actions; on its side, with its model's name."""
    if answer.stopped and not answer.text:
        return _answer('<p class="muted">Not answered yet. Retry asks it again.</p>', side, model)
    kind, words = support(answer)
    pages = sorted({page for citation in answer.citations if citation.supported for page in citation.pages})
    where = f" · {page_label(pages)}" if pages else ""
    foot = (
        f'<div class="answer-foot"><span class="badge {kind}">{words}{where}</span>'
        '<button type="button" class="copy-answer">Copy</button></div>'
    )
    return _answer(f'<div class="answer-text">{answer_text(answer.text, answer.hits)}</div>{foot}', side, model)


def partial_html(text: str, side: str = "", model: str = "") -> str:
    """An answer while it is being written."""
    body = answer_text(text, ()) if text.strip() else '<p class="reading">Reading the manual…</p>'
    return _answer(f'<div class="answer-text writing">{body}</div>', side, model)


def _answer(body: str, side: str, model: str) -> str:
    """`side` is left, right, or "" for an answer that stands alone."""
    head = f'<p class="model">{escape(model)}</p>' if side else ""
    return _one_block(f'<div class="answer{side and f" {side}"}">{head}{body}</div>')


def answer_text(text: str, hits: Sequence[Hit]) -> str:
    """Markdown to HTML with `[n]` as a mark that leads to passage n; quoted table rows as a table, under their table's header."""

    def mark(match: re.Match[str]) -> str:
        n = int(match.group(1))
        where = place(hits[n - 1].chunk.title, hits[n - 1].chunk.section, hits[n - 1].chunk.pages) if 0 < n <= len(hits) else ""
        title = f' title="{escape(where)}"' if where else ""
        return f'<span class="cite" role="button" tabindex="0"{title}>{n}</span>'

    blocks = groupby(text.splitlines(), key=_is_row)
    parts = [_rows_html(list(lines), hits) if row else _markdown.render("\n".join(lines)) for row, lines in blocks]
    return _MARK.sub(mark, _whole_options("".join(parts)))


def _whole_options(text: str) -> str:
    """HTML whose options of commands do not break at their hyphens; no attribute of it may have a value like one."""
    return _OPTION.sub(r'<span class="option">\g<0></span>', text)


def _is_row(line: str) -> bool:
    """Whether the line is a table row as passages hold it, `E4 | pump blocked`, and not one of Markdown."""
    return " | " in line and not line.lstrip().startswith("|")


def _rows_html(lines: Sequence[str], hits: Sequence[Hit]) -> str:
    rows: list[str] = []
    above = ""
    for line in lines:
        cited = [int(n) for n in _MARK.findall(line)]
        cells = _MARK.sub("", line).strip()
        header = _header_of(cells, hits[cited[-1] - 1].chunk.text) if cited and 0 < cited[-1] <= len(hits) else ""
        if header not in ("", above):
            rows.append(_row_html("th", header))
        above = header
        rows.append(_row_html("td", cells + "".join(f" [{n}]" for n in cited)))
    return _table_html(rows)


def _header_of(row: str, passage: str) -> str:
    """The first row of the table that holds the row; "" where it is that one, or in none."""
    for is_table, lines in groupby(map(str.strip, passage.splitlines()), key=_is_row):
        if is_table and row in (table := list(lines)):
            return table[0] if row != table[0] else ""
    return ""


def _row_html(tag: str, row: str, wrap: str = "{}") -> str:
    cells = "".join(f"<{tag}>{wrap.format(escape(cell))}</{tag}>" for cell in row.split(" | "))
    return f"<tr>{cells}</tr>"


def _table_html(rows: Sequence[str]) -> str:
    return f'<div class="table"><table>{"".join(rows)}</table></div>'


def sources_html(answer: Answer | None) -> str:
    """The evidence panel: cited passages as cards, the ones read but not cited folded below, and how they were found."""
    if answer is None:
        return (
            '<div class="empty"><b>Sources</b><p>The passages behind an answer appear here, with their section and page. '
            "Choose an answer to see its own.</p></div>"
        )
    cited = {citation.n for citation in answer.citations}
    first = [source_card(answer, n) for n in range(1, len(answer.hits) + 1) if n in cited]
    rest = [source_card(answer, n) for n in range(1, len(answer.hits) + 1) if n not in cited]
    parts = [f'<p class="asked">{escape(answer.question)}</p>', *first]
    if rest:
        title = f"{len(rest)} more passage{'s' * (len(rest) > 1)} read" if first else f"Closest passages read ({len(rest)})"
        parts.append(f"<details{'' if first else ' open'}><summary>{title}</summary>{''.join(rest)}</details>")
    return f'<div class="sources">{"".join(parts)}{trace_html(answer)}</div>'


def source_card(answer: Answer, n: int) -> str:
    chunk = answer.hits[n - 1].chunk
    quotes = [citation for citation in answer.citations if citation.n == n]
    kind = "supported" if quotes and all(c.supported for c in quotes) else "partly" if quotes else ""
    badge = f'<span class="badge {kind}">{"Supports" if kind == "supported" else "Check this"}</span>' if kind else ""
    page = (
        f'<button type="button" class="show-page" data-hit="{n - 1}">Show {page_label(chunk.pages)}</button>'
        if chunk.boxes and chunk.source.lower().endswith(".pdf")
        else f'<span class="muted">{page_label(chunk.pages)}</span>'
    )
    section = short_section(chunk)
    return (
        f'<article class="source" id="source-{n}"><header><span class="number">{n}</span>'
        f"<span><b>{escape(chunk.title)}</b>{f'<br><span>{escape(section)}</span>' if section else ''}"
        f"{_same_in(answer.hits[n - 1].also_in)}</span></header>"
        f'<div class="passage">{passage_html(chunk.text, [c.quote for c in quotes])}</div>'
        f"<footer>{badge}{page}</footer></article>"
    )


def _same_in(products: Sequence[str]) -> str:
    """The other products whose manuals say the same word for word; of many the first ones, all when pointed at."""
    if not products:
        return ""
    left = len(products) - NAMED
    names = f"{', '.join(products[:NAMED])} and {left} more" if left > 1 else ", ".join(products)
    return f'<br><span title="{escape(", ".join(products))}">The same in: {escape(names)}</span>'


def passage_html(text: str, quotes: Sequence[str] = ()) -> str:
    """A passage as it stands in the manual: its table rows as a table, sentences quoted word for word marked."""
    parts: list[str] = []
    rows: list[str] = []
    for line in [*text.splitlines(), ""]:
        if " | " in line:
            quoted = len(line) > SHORT and any(line.strip() in quote for quote in quotes)
            rows.append(_row_html("td" if rows else "th", line, "<mark>{}</mark>" if quoted else "{}"))
            continue
        if rows:
            parts.append(_table_html(rows))
            rows = []
        if line.strip():
            parts.append(f"<p>{_marked(line, quotes)}</p>")
    return _whole_options("".join(parts))


def _marked(line: str, quotes: Sequence[str]) -> str:
    """The line escaped, what an answer quotes of it word for word in <mark>."""
    safe = escape(line)
    if len(line) > SHORT and any(line in quote for quote in quotes):
        return f"<mark>{safe}</mark>"
    for quote in quotes:
        if len(quote) > SHORT:
            safe = safe.replace(escape(quote), f"<mark>{escape(quote)}</mark>", 1)
    return safe


def trace_html(answer: Answer) -> str:
    """How the answer came about: the question as searched, the rank each stage gave each passage, times and ids."""
    stages = sorted({stage for hit in answer.hits for stage in hit.stages})
    head = "".join(f"<th>{escape(stage.replace('_', ' '))}</th>" for stage in stages)
    rows = "".join(
        f"<tr><td>{hit.rank}</td>{''.join(f'<td>{_number(hit.stages.get(stage))}</td>' for stage in stages)}</tr>"
        for hit in answer.hits
    )
    times = ", ".join(f"{escape(name.replace('_', ' '))} {seconds:.2f} s" for name, seconds in answer.timings.items())
    facts = [("Searched for", answer.standalone), ("Confidence", f"{answer.confidence:.2f}"), ("Time", times)]
    facts += [("Model", answer.model_id), ("Adapter", answer.adapter_id or "none"), ("Index", answer.index_id)]
    facts += [("Prompt", answer.prompt_version), ("Answer", answer.answer_id)]
    table = f'<div class="table"><table><tr><th>passage</th>{head}</tr>{rows}</table></div>' if rows else ""
    return f'<details class="trace"><summary>How it was found</summary>{facts_html(facts)}{table}</details>'


def facts_html(facts: Iterable[tuple[str, str]]) -> str:
    """Name and value pairs as a definition list."""
    return '<dl class="facts">' + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts) + "</dl>"


def minute(at: str) -> str:
    """`2026-11-21 19:01 UTC` of a time in ISO 8601, UTC; "" of none."""
    return f"{at[:16].replace('T', ' ')} UTC" if at else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _one_block(block: str) -> str:
    """HTML that a Markdown renderer leaves alone: a blank line would end the block."""
    return block.replace("\n", "&#10;")


def page_html(chunk: Chunk, hit: int, drawn: PageImage, pages: int) -> str:
    """The page view: previous, next, larger or smaller and close, then the page's image."""
    page = drawn.page

    def turn(to: int, label: str) -> str:
        off = "" if 1 <= to <= pages else " disabled"
        return f'<button type="button" data-hit="{hit}" data-page="{to}"{off}>{label}</button>'

    size = '<button type="button" class="enlarge">Enlarge</button><button type="button" class="shrink">Smaller</button>'
    close = '<button type="button" data-hit="-1">Close</button>'
    title = f"<span><b>{escape(chunk.title)}</b> · page {page} of {pages}</span>"
    head = f"<header>{title}<span>{turn(page - 1, '‹ Previous')}{turn(page + 1, 'Next ›')}{size}{close}</span></header>"
    image = f'<img src="{drawn.url}" alt="Page {page} of {escape(chunk.title)}" data-top="{drawn.top:.4f}">'
    return f'<div class="page-view">{head}{image}</div>'


def note_html(text: str, failed: bool = False) -> str:
    return f'<p class="note{" failed" * failed}" role="status">{escape(text)}</p>'
