"""Markdown -> blocks, from markdown-it's tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from emendo.records import Block, BlockKind
from rag.decoding import decode
from rag.outline import Reading, as_warning, is_signal_word, join_lines, starts_anew, table_text, text_block, tidy

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*\n", re.DOTALL)
_ADMONITION = re.compile(r'^(?:!!!|\?\?\?\+?)\s+(\w+)(?:\s+"([^"]*)")?[ \t]*\n((?:(?: {4}|\t).*\n?|[ \t]*\n)+)', re.MULTILINE)
_ATTRIBUTES = re.compile(r"\s*\{[:#.][^}\n]*\}\s*$")
_ALERT = re.compile(r"^\[!(\w+)\]\s*")


def read(data: bytes, source: str) -> Reading:
    """The reading of a Markdown file (CommonMark, tables, front matter, MkDocs and GitHub admonitions)."""
    text = decode(data, source)
    title = ""
    front = _FRONT_MATTER.match(text)
    if front:
        text = text[front.end() :]
        named = re.search(r"^title:\s*(.+)$", front[1], re.MULTILINE)
        title = named[1].strip().strip("\"'") if named else ""
    return read_text(text, title)


def read_text(text: str, title: str = "") -> Reading:
    """The reading of Markdown text; its title is `title`, else its first heading where that is of level 1."""
    text = _ADMONITION.sub(_quote_admonition, text)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    blocks = _Walker(tokens).walk()
    headings = [b for b in blocks if b.kind == "heading"]
    if not title and headings and headings[0].level == 1:
        title = headings[0].text
    return Reading(tuple(blocks), title)


def _quote_admonition(match: re.Match[str]) -> str:
    word, heading, body = match[1], match[2], match[3]
    lines = [line[1:] if line.startswith("\t") else line[4:] for line in body.rstrip().split("\n")]
    label = f"{word.upper()}: {heading + ': ' if heading else ''}"
    return f"\n> {label}" + "\n".join([lines[0].strip(), *(f"> {line}" for line in lines[1:])]) + "\n\n"


def inline_text(token: Token) -> str:
    """What a reader sees of an inline token: link texts and code kept, image files and HTML tags dropped."""
    parts = []
    for child in token.children or []:
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type == "softbreak":
            parts.append("\n")
        elif child.type == "hardbreak":
            parts.append("\n\n")
        elif child.type == "html_inline" and re.match(r"<br\s*/?>", child.content, re.IGNORECASE):
            parts.append("\n")
    return "".join(parts).strip()


def join_wrapped(text: str) -> list[str]:
    """The paragraphs of a text whose lines may be wrapped, each on one line; an empty line always parts them."""
    found: list[str] = []
    for part in text.split("\n\n"):
        lines = [tidy(line) for line in part.split("\n") if line.strip()]
        widest = max(map(len, lines), default=0)
        for n, line in enumerate(lines):
            if n and not starts_anew(lines[n - 1], line, len(lines[n - 1]) < min(widest * 0.8, 70)):
                found[-1] = join_lines(found[-1], line)
            else:
                found.append(line)
    return found


def _table_of_contents(tokens: Sequence[Token], position: int) -> int:
    """Where the list that opens here ends, if all of its items are links and most of them lead into the page itself; else 0.

    Its entries say what others say better, most of all in an FAQ, where they are the questions.
    """
    end = next(
        n for n, token in enumerate(tokens[position:], position) if token.level == tokens[position].level and token.nesting < 0
    )
    places: list[str] = []
    for token in tokens[position:end]:
        if token.type == "inline":
            children = [child for child in token.children or () if child.content.strip() or child.nesting]
            if not children or children[0].type != "link_open" or children[-1].type != "link_close":
                return 0
            places += [str(child.attrGet("href")) for child in children if child.type == "link_open"]
    return end + 1 if 2 * sum(place.startswith("#") for place in places) > len(places) else 0


class _Walker:
    """One pass over the tokens; keeps where it is in lists and quotes."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.blocks: list[Block] = []
        self.lists: list[int | None] = []  # next number of each open list; None for bullets
        self.marker = ""  # of the list item whose first paragraph is next
        self.quotes = 0
        self.signal = ""  # signal word that stands in a paragraph of its own inside a quote

    def walk(self) -> list[Block]:
        position = 0
        while position < len(self.tokens):
            position = self._take(position)
        return self.blocks

    def _take(self, position: int) -> int:
        token = self.tokens[position]
        if token.type == "heading_open":
            text = _ATTRIBUTES.sub("", tidy(inline_text(self.tokens[position + 1])))
            self._add(Block("heading", text, int(token.tag[1])))
            return position + 3
        if token.type == "table_open":
            return self._table(position)
        if token.type in ("bullet_list_open", "ordered_list_open") and (end := _table_of_contents(self.tokens, position)):
            return end
        if token.type == "paragraph_open":
            self._paragraph(inline_text(self.tokens[position + 1]))
            return position + 3
        if token.type in ("fence", "code_block"):
            self._add(Block("code", token.content.strip("\n")))
        elif token.type == "html_block":
            self._paragraph(re.sub(r"<!--.*?-->|<[^>]+>", " ", token.content, flags=re.DOTALL))
        else:
            self._track(token)
        return position + 1

    def _track(self, token: Token) -> None:
        if token.type == "bullet_list_open":
            self.lists.append(None)
        elif token.type == "ordered_list_open":
            self.lists.append(int(token.attrGet("start") or 1))
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            self.lists.pop()
        elif token.type == "list_item_open":
            number = self.lists[-1]
            self.marker = "- " if number is None else f"{number}. "
            if number is not None:
                self.lists[-1] = number + 1
        elif token.type == "list_item_close":
            self.marker = ""
        elif token.type == "blockquote_open":
            self.quotes += 1
        elif token.type == "blockquote_close":
            self.quotes -= 1
            self.signal = ""

    def _paragraph(self, text: str) -> None:
        for line in join_wrapped(text):
            line = _ATTRIBUTES.sub("", _ALERT.sub(lambda match: f"{match[1].upper()}: ", tidy(line)))
            if not line:
                continue
            if self.quotes and is_signal_word(line):
                self.signal = line.strip(" :!").upper()
                continue
            self._line(line)

    def _line(self, line: str) -> None:
        if self.marker:
            kind: BlockKind = "list_item" if self.marker == "- " else "step"
            self._add(as_warning(Block(kind, line)) if self.quotes else Block(kind, self.marker + line))
            self.marker = ""
        elif self.quotes:
            self._add(as_warning(Block("paragraph", f"{self.signal}: {line}" if self.signal else line)))
            self.signal = ""
        elif self.lists and self.blocks and self.blocks[-1].kind in ("step", "list_item"):
            # A further paragraph of the same item belongs to it.
            last = self.blocks[-1]
            self.blocks[-1] = Block(last.kind, f"{last.text} {line}")
        else:
            self._add(text_block(line))

    def _table(self, position: int) -> int:
        rows: list[list[str]] = []
        while self.tokens[position].type != "table_close":
            token = self.tokens[position]
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                rows[-1].append(inline_text(token))
            position += 1
        self._add(Block("table", table_text(rows)))
        return position + 1

    def _add(self, block: Block) -> None:
        if block.text.strip():
            self.blocks.append(block)
