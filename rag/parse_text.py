"""Plain text -> blocks: headings by "#", "==", underlines, numbering or capitals; pages by form feeds or "- 7 -" lines."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import reduce

from emendo.records import Block
from rag.decoding import decode
from rag.furniture import drop_furniture
from rag.outline import Reading, join_lines, starts_anew, text_block, tidy

_PAGE_NUMBER = re.compile(r"^\s*(?:[-–—]\s*(\d{1,4})\s*[-–—]|page\s+(\d{1,4})(?:\s+of\s+\d+)?)\s*$", re.IGNORECASE)
_HASHES = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_NUMBERED = re.compile(r"^(\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+([A-Z][^.!?:;]{2,70})$")
_WIKI = re.compile(r"^(={1,6}) +([^=\s].*?) +\1[ \t]*$", re.MULTILINE)
_HEADER = re.compile(r"\AContent-Type: .*\n(?:[\w-]+: .*\n)*")  # of Zim's pages, and of mails
_UNDERLINE = re.compile(r"^([=\-~^*#+])\1{2,}$")


def read(data: bytes, source: str) -> Reading:
    """The reading of a text file. Pages carry the number printed on them where every page has one, else their order."""
    pages = split_pages(_wiki_headings(_HEADER.sub("", decode(data, source))))
    lines = drop_furniture([text.split("\n") for _, text in pages])
    blocks: list[Block] = []
    for (number, _), page_lines in zip(pages, lines, strict=True):
        page = number if len(pages) > 1 else None
        found = _read_page(page_lines)
        blocks += _continue_paragraph(blocks, [replace(block, page=page) for block in found])
    headings = [b for b in blocks if b.kind == "heading"]
    title = headings[0].text if headings and headings[0].level == 1 and blocks[0] == headings[0] else ""
    return Reading(tuple(blocks), title, max(number for number, _ in pages) if len(pages) > 1 else 0)


def _wiki_headings(text: str) -> str:
    """`== X ==` as `# X`: more signs are a deeper level in MediaWiki, a higher one in DokuWiki and Zim, which begin with most."""
    signs = [len(match[1]) for match in _WIKI.finditer(text)]
    if not signs:
        return text
    least, most = min(signs), max(signs)
    falling = signs[0] == most
    return _WIKI.sub(lambda m: "#" * (most - len(m[1]) if falling else len(m[1]) - least) + f"# {m[2]}", text)


def split_pages(text: str) -> list[tuple[int, str]]:
    """(page number, its text) in order, cut at form feeds or, without them, after "- 7 -" lines.

    The number printed at the foot counts; a page without one follows the page before it.
    """
    parts = text.split("\f") if "\f" in text else _split_at_numbers(text)
    pages: list[tuple[int, str]] = []
    for part in parts:
        lines = part.rstrip().split("\n")
        printed = _PAGE_NUMBER.match(lines[-1])
        follows = pages[-1][0] + 1 if pages else 1
        number = int(printed[1] or printed[2]) if printed else follows
        if printed and number >= follows:
            lines.pop()
        if "".join(lines).strip():
            pages.append((max(number, follows), "\n".join(lines)))
    return pages or [(1, text)]


def _split_at_numbers(text: str) -> list[str]:
    parts, current, last = [], [], 0
    for line in text.split("\n"):
        current.append(line)
        match = _PAGE_NUMBER.match(line)
        # A number far from the page before is a line of its own, not a page's.
        if match and (not last or 0 < int(match[1] or match[2]) - last <= 20):
            last = int(match[1] or match[2])
            parts.append("\n".join(current))
            current = []
    return [*parts, "\n".join(current)]


def _read_page(lines: list[str]) -> list[Block]:
    blocks: list[Block] = []
    paragraph: list[str] = []

    def close() -> None:
        if paragraph:
            blocks.append(text_block(reduce(join_lines, paragraph)))
            paragraph.clear()

    lines = [line.rstrip() for line in lines]
    widest = sorted(len(line) for line in lines)[int(len(lines) * 0.9)] if lines else 0
    for n, line in enumerate(lines):
        text = line.strip()
        heading = _heading(lines, n)
        if heading or not text or _UNDERLINE.match(text):
            close()
            if heading:
                blocks.append(heading)
            continue
        if paragraph and starts_anew(paragraph[-1], text, len(paragraph[-1]) < widest * 0.8):
            close()
        paragraph.append(tidy(text))
    close()
    return blocks


def _heading(lines: list[str], n: int) -> Block | None:
    text = tidy(lines[n])
    before, after = lines[n - 1] if n else "", lines[n + 1] if n + 1 < len(lines) else ""
    hashes = _HASHES.match(text)
    if hashes:
        return Block("heading", hashes[2], len(hashes[1]))
    underline = _UNDERLINE.match(after.strip())
    if text and underline and not before.strip() and len(after.strip()) >= len(text) * 0.6:
        return Block("heading", text, 1 if underline[1] in "=#*" else 2)
    alone = not before.strip() and not after.strip()
    numbered = _NUMBERED.match(text)
    if numbered and alone and (n or "." in numbered[1]):
        return Block("heading", text, numbered[1].count(".") + 1)
    if alone and text.isupper() and 4 <= len(text) <= 70 and len(text.split()) <= 9 and not text.endswith((".", "!", ":")):
        return Block("heading", text, 2)
    return None


def _continue_paragraph(before: list[Block], found: list[Block]) -> list[Block]:
    """The blocks of a new page; a sentence that the page break cut is joined to its first half in `before`."""
    if before and found and before[-1].kind != "heading" and found[0].kind == "paragraph":
        last = before[-1]
        if last.text and last.text[-1] not in ".!?:" and found[0].text[0].islower():
            before[-1] = replace(last, text=f"{last.text} {found[0].text}")
            return found[1:]
    return found
