"""HTML -> blocks: the main content only; navigation, footers and scripts are dropped, admonitions become warnings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from bs4 import BeautifulSoup, Comment, NavigableString, PageElement, Tag

from emendo.records import Block
from rag.html_furniture import (
    LINK,
    LINK_END,
    drop_furniture,
    is_link_only,
    is_navigation,
    leads_inside,
    names_its_maker,
    plain_text,
    split_title,
)
from rag.html_headings import promote_bold_lines
from rag.outline import Reading, as_warning, is_signal_word, table_text, text_block, tidy

_MAIN = ('[role="main"]', "main", "article", "div.document", "div.md-content", "div#content", "div#main-content")
_HEADING = re.compile(r"h([1-6])$")
_BLOCK_TAGS = set(
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure h1 h2 h3 h4 h5 h6 header "
    "hr html li main ol p pre section summary table ul".split()
)
_WORDS = "warning|caution|danger|important|attention|notice|note|tip|hint"
_SIGNAL = re.compile(_WORDS, re.IGNORECASE)
_ADMONITION = re.compile(rf"^(?:admonition(?:block)?|alert|callout|info|{_WORDS})(?:$|-|_)", re.IGNORECASE)
_AFTER_WORD = re.compile(r"[,.;:)]+(?:\s|$)")  # not ".profile" or ":wq"
_MOST_SPANNED = 1000  # rows or columns of one cell; browsers stop there, too
_BREAK = "\u2029"  # stands for <br> until the text around it is complete


def read(data: bytes, source: str) -> Reading:
    """The reading of an HTML file; its encoding is taken from its own declaration."""
    return read_html(BeautifulSoup(data, "lxml"), source)


def read_html(soup: BeautifulSoup, source: str) -> Reading:
    """The reading of a parsed page. Its title is "site: page" where the page names both."""
    page, site = split_title(soup)
    main = _find_main(soup)
    drop_furniture(main, source)
    promote_bold_lines(main)
    walker = _Walker()
    walker.visit(main)
    walker.flush()
    blocks = _without_bare_links(walker.blocks, walker.bare)
    headings = [block for block in blocks if block.kind == "heading"]
    site = re.sub(r"\s+documentation$", "", site, flags=re.IGNORECASE)
    page = page or (headings[0].text if headings else "")
    title = f"{site}: {page}" if site and page and site.lower() != page.lower() else page or site
    return Reading(tuple(blocks), title, product=site)


def _without_bare_links(blocks: Sequence[Block], bare: Sequence[Block]) -> list[Block]:
    """The blocks without the sections that hold nothing but links to other places."""
    links = {id(block) for block in bare}
    kept: list[Block] = []
    section: list[Block] = []
    for block in [*blocks, None]:
        if block is None or block.kind == "heading":
            if not all(id(one) in links for one in section):
                kept += section
            section = []
            kept += [block] if block else []
        else:
            section.append(block)
    return kept


def _find_main(soup: BeautifulSoup) -> Tag:
    """The element that holds the content: the first known one with text, else the body."""
    doxygen = soup.select_one("#titlearea") is not None
    for selector in ("div.contents", *_MAIN) if doxygen else _MAIN:
        found = soup.select(selector)
        if len(found) == 1 and len(found[0].get_text(strip=True)) > 50:
            return found[0]
    return soup.body or soup


class _Walker:
    """One pass over the elements; text between block elements gathers until the next one begins."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.pending: list[str] = []
        self.bare: list[Block] = []  # those that are nothing but links inside the site
        self.marker = ""  # of the list item whose first text is next
        self.signal = ""  # of the admonition whose first text is next
        self.level = 0  # of the last heading
        self.in_table = 0
        self.in_link = False  # to another place of the site

    def visit(self, element: Tag) -> None:
        for child in element.children:
            self._node(child)

    def _node(self, node: PageElement) -> None:
        if isinstance(node, Tag):
            self._tag(node)
        elif isinstance(node, NavigableString) and not isinstance(node, Comment):
            self.pending.append(f"{LINK}{node}{LINK_END}" if self.in_link else str(node))

    def _tag(self, tag: Tag) -> None:
        if tag.name == "br":
            self.pending.append(_BREAK)
        elif tag.name == "a" and leads_inside(tag):
            self.in_link = True
            self.visit(tag)
            self.in_link = False
        elif tag.name not in _BLOCK_TAGS:
            self.visit(tag)  # an inline element may hold blocks all the same
        else:
            self.flush()
            self._block(tag)
            self.flush()

    def _block(self, tag: Tag) -> None:
        heading = _HEADING.match(tag.name)
        if heading:
            self._heading(tag, int(heading[1]))
        elif tag.name == "pre":
            self._add(Block("code", tag.get_text().strip("\n")))
        elif "fragment" in _classes(tag) and (lines := tag.find_all(class_="line")):  # a listing of Doxygen's
            self._add(Block("code", "\n".join(line.get_text() for line in lines)))
        elif tag.name == "table":
            self._table(tag)
        elif tag.name in ("ol", "ul"):
            self._list(tag)
        elif tag.name == "dl":
            self._definitions(tag)
        elif _is_admonition(tag):
            self._admonition(tag)
        else:
            self.visit(tag)

    def _heading(self, tag: Tag, level: int) -> None:
        text = tidy(tag.get_text(" ")).rstrip("¶# ")
        if not text:
            return
        if self.in_table:
            # A heading inside a layout table belongs below the one above the table, whatever its tag.
            level = min(self.level + 1, 6)
        else:
            self.level = level
        self._add(Block("heading", text, level))

    def _list(self, tag: Tag) -> None:
        number = int(str(tag.get("start", "1"))) if str(tag.get("start", "1")).isdigit() else 1
        for child in tag.children:
            if not (isinstance(child, Tag) and child.name == "li"):
                self._node(child)  # old pages indent whole chapters by lists without items
                continue
            self.flush()
            value = str(child.get("value", ""))
            number = int(value) if value.isdigit() else number
            self.marker = f"{number}. " if tag.name == "ol" else "- "
            number += 1
            self.visit(child)
            self.flush()
            self.marker = ""

    def _definitions(self, tag: Tag) -> None:
        """ "Term: what it means", as one block each; terms that share a meaning are joined."""
        terms: list[str] = []
        for part in _definition_parts(tag):
            if not (isinstance(part, Tag) and part.name in ("dt", "dd")):
                self._node(part)
            elif part.name == "dt":
                self.flush()
                apart = " " if part.find(["br", *_BLOCK_TAGS]) else ""  # "-a, --all" is of many elements
                terms += filter(None, [tidy(part.get_text(apart)).rstrip(":")])
            else:
                self.flush()
                start = len(self.blocks)
                self.visit(part)
                self.flush()
                if terms and len(self.blocks) > start and self.blocks[start].kind != "heading":
                    self.blocks[start] = replace(self.blocks[start], text=f"{', '.join(terms)}: {self.blocks[start].text}")
                    terms = []
                self._terms(terms)
                terms = []
        self._terms(terms)

    def _terms(self, terms: list[str]) -> None:
        """Terms without a text of their own."""
        if terms:
            self._add(Block("paragraph", ", ".join(terms)))

    def _admonition(self, tag: Tag) -> None:
        classes = " ".join(_classes(tag))
        word = _SIGNAL.search(classes)
        title = tag.find(class_=re.compile("admonition-title|alert-title")) or tag.find(_names_signal)
        if isinstance(title, Tag):
            label = tidy(title.get_text(" "))
            word = _SIGNAL.search(label) or word
            title.decompose()
        self.signal = f"{word[0].upper()}: " if word else ""
        self.visit(tag)
        self.flush()
        self.signal = ""

    def _table(self, tag: Tag) -> None:
        rows = [row.find_all(["td", "th"], recursive=False) for row in tag.find_all("tr") if row.find_parent("table") is tag]
        texts = _cell_texts(rows)
        filled = max((sum(1 for text in row if text) for row in texts), default=0)
        if filled <= 1 or tag.find(["table", "h1", "h2", "h3", "h4", "h5"]):
            # A table for layout: a frame, or an icon beside its text.
            self.in_table += 1
            for cell in (cell for row in rows for cell in row):
                self.visit(cell)
                self.flush()
            self.in_table -= 1
        else:
            while texts and sum(map(bool, texts[0])) <= 1:  # the table's title is no header
                self._add(Block("paragraph", "".join(texts.pop(0))))
            self._add(Block("table", table_text(texts)))

    def flush(self) -> None:
        """Make blocks of the text gathered so far."""
        whole = "".join(self.pending).replace(LINK_END + LINK, "")
        self.pending.clear()
        for part in [] if is_navigation(whole) and not self.marker else whole.split(_BREAK):
            # Source lines broken between inline tags leave a space before the full stop.
            text = re.sub(r" ([,.;:!?)])(?= |$)", r"\1", tidy(plain_text(part)))
            if not text or (not self.marker and (is_navigation(part) or names_its_maker(text))):
                continue
            bare = is_link_only(part) and not self.marker and not self.signal
            self._text(text)
            self.bare += self.blocks[-1:] if bare else []

    def _text(self, text: str) -> None:
        last = self.blocks[-1] if self.blocks else None
        if self.marker:
            self._add(Block("list_item" if self.marker == "- " else "step", self.marker + text))
        elif self.signal:
            self._add(as_warning(Block("paragraph", text if _SIGNAL.match(text) else self.signal + text)))
        elif last and last.kind == "paragraph" and _AFTER_WORD.match(text):
            self.blocks[-1] = replace(last, text=last.text + text)
        else:
            self._add(text_block(text))
        self.marker = self.signal = ""

    def _add(self, block: Block) -> None:
        if block.text:
            self.blocks.append(block)


def _cell_texts(rows: Sequence[Sequence[Tag]]) -> list[list[str]]:
    """The table's texts in their columns: a cell that is several rows high counts for each, a wide one for its first column."""
    texts: list[list[str]] = []
    below: dict[int, tuple[int, str]] = {}  # column -> rows that its last cell still goes down, and its text
    for row in rows:
        texts.append([])
        cells = list(row)
        while cells or len(texts[-1]) in below:
            column = len(texts[-1])
            if column in below:
                left, text = below.pop(column)
                below |= {column: (left - 1, text)} if left > 1 else {}
                texts[-1].append(text)
                continue
            cell = cells.pop(0)
            text = tidy(cell.get_text(" "))
            for n in range(_span(cell, "colspan")):
                texts[-1].append("" if n else text)
                if _span(cell, "rowspan") > 1:
                    below[column + n] = (_span(cell, "rowspan") - 1, "" if n else text)
    return texts


def _span(cell: Tag, name: str) -> int:
    value = str(cell.get(name, "1")).strip()
    return min(max(int(value), 1), _MOST_SPANNED) if value.isdigit() and value.isascii() else 1


def _definition_parts(tag: Tag) -> Iterator[PageElement]:
    """The children of a definition list; a <div> around a term and its meaning is looked into."""
    for child in tag.children:
        if isinstance(child, Tag) and child.name == "div" and child.find(["dt", "dd"]):
            yield from _definition_parts(child)
        else:
            yield child


def _classes(tag: Tag) -> Iterable[str]:
    found = tag.get("class")
    return found if isinstance(found, list) else [found or ""]


def _names_signal(tag: Tag) -> bool:
    """Whether the element is an admonition's label: a heading, or the cell of its icon."""
    return bool(_HEADING.match(tag.name) or tag.name in ("th", "td")) and is_signal_word(tidy(tag.get_text(" ")))


def _is_admonition(tag: Tag) -> bool:
    return tag.name in ("div", "aside", "blockquote", "section", "p") and any(_ADMONITION.match(name) for name in _classes(tag))
