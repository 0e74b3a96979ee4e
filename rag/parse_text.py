"""Plain text -> blocks: headings by "#", underlines, numbering or capitals; pages by form feeds or "- 7 -" lines."""

from __future__ import annotations

import re
from dataclasses import replace

from emendo.records import Block
from rag.decoding import decode
from rag.furniture import drop_furniture
from rag.outline import Reading, text_block, tidy

_PAGE_NUMBER = re.compile(r"^\s*(?:[-–—]\s*(\d{1,4})\s*[-–—]|page\s+(\d{1,4})(?:\s+of\s+\d+)?)\s*$", re.IGNORECASE)
_HASHES = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_NUMBERED = re.compile(r"^(\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+([A-Z][^.!?:;]{2,70})$")
_UNDERLINE = re.compile(r"^([=\-~^*#+])\1{2,}$")


def read(data: bytes, source: str) -> Reading:
    """The reading of a text file. Pages carry the number printed on them where every page has one, else their order."""
    pages = split_pages(decode(data, source))
    lines = drop_furniture([[line for line in text.split("\n")] for _, text in pages])
    blocks: list[Block] = []
    for (number, _), page_lines in zip(pages, lines, strict=True):
        page = number if len(pages) > 1 else None
        found = _read_page(page_lines)
        blocks += _continue_paragraph(blocks, [replace(block, page=page) for block in found])
    headings = [b for b in blocks if b.kind == "heading"]
    title = headings[0].text if headings and headings[0].level == 1 and blocks[0] == headings[0] else ""
    return Reading(tuple(blocks), title, max(number for number, _ in pages) if len(pages) > 1 else 0)


def split_pages(text: str) -> list[tuple[int, str]]:
    """(page number, its text) in order. A "- 7 -" line closes page 7, as page numbers stand at the foot."""
    if "\f" in text:
        return [(n, part) for n, part in enumerate(text.split("\f"), 1) if part.strip()]
    pages: list[tuple[int, str]] = []
    current: list[str] = []
    for line in text.split("\n"):
        match = _PAGE_NUMBER.match(line)
        number = int(match[1] or match[2]) if match else 0
        if not match or (pages and not 0 < number - pages[-1][0] <= 20):
            current.append(line)
            continue
        pages.append((number, "\n".join(current)))
        current = []
    if len(pages) < 2:
        return [(1, text)]
    return [*pages, (pages[-1][0] + 1, "\n".join(current))] if "".join(current).strip() else pages


def _read_page(lines: list[str]) -> list[Block]:
    blocks: list[Block] = []
    paragraph: list[str] = []

    def close() -> None:
        if paragraph:
            blocks.append(text_block(" ".join(paragraph)))
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
        if paragraph and _starts_anew(paragraph, text, widest):
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


def _starts_anew(paragraph: list[str], text: str, widest: int) -> bool:
    """Whether a line begins a new paragraph: an item, or after a line that ended early with the end of a sentence."""
    if text_block(text).kind != "paragraph":
        return True
    last = paragraph[-1]
    short = len(last) < widest * 0.8
    return short and (last.endswith((".", "!", "?", ":")) or text[0].isupper() or text[0].isdigit())


def _continue_paragraph(before: list[Block], found: list[Block]) -> list[Block]:
    """The blocks of a new page; a sentence that the page break cut is joined to its first half in `before`."""
    if before and found and before[-1].kind != "heading" and found[0].kind == "paragraph":
        last = before[-1]
        if last.text and last.text[-1] not in ".!?:" and found[0].text[0].islower():
            before[-1] = replace(last, text=f"{last.text} {found[0].text}")
            return found[1:]
    return found
