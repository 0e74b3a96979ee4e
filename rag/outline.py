"""What all parsers share: the reading they return, signal words and step numbers, and blocks -> sections."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import PurePosixPath

from emendo.records import Block, BlockKind, Section

# ANSI Z535.6 signal words and what manuals use beside them; only hazards become warnings, the others stay paragraphs.
_HAZARD = (
    "DANGER|WARNING|CAUTION|ATTENTION|IMPORTANT|NOTICE|GEFAHR|WARNUNG|VORSICHT|ACHTUNG|AVERTISSEMENT|ADVERTENCIA|PRECAUCIÓN|PELIGRO|"
    "AVVERTENZA|ATTENZIONE|PERICOLO|警告|注意|危険|危险"
)
_SIGNAL = re.compile(
    rf"^\W*(?:(?P<loud>{_HAZARD}|NOTE|TIP|HINT)S?\b\s*[:!.：！\-–—]*|(?P<quiet>{_HAZARD}|NOTE|TIP|HINT)\s*[:!,：！])\s*(?:[*_]+\s)?",
    re.IGNORECASE,
)
_TRIANGLES = "⚠☢⚡"  # of which the first is printed before a hazard
_SHOUTED = re.compile(r"^(?:DO NOT|NEVER|DON[’']T) [A-Za-z]+\b")
_STEP = re.compile(r"^(?:[Ss]tep\s*|STEP\s*)?(\d{1,2})(?:\s*[.):]\s+(?=\S)|[、．]\s*(?=\S)|\s*[-–]\s+(?=[A-Z]))")
_BULLET = re.compile(r"^[•▪▫◦‣●○■□➢➤✓✔·∙*\uf000-\uf0ff-]\s+(?=\S)|^[–—]\s+(?=\S)|^o\s+(?=[A-Z])")
_LETTERED = re.compile(r"^\(?[a-z]\)\s+(?=\S)")
_CODE = re.compile(r"^(?:error\s+|fault\s+)?[A-Z]{1,3}[- ]?\d{1,4}\s*[-–:]\s+\S", re.IGNORECASE)
_LEADER = re.compile(r"(?:\.\s?){4,}\s*\S{0,6}$|…+\s*\d+$")
_CONTENTS = re.compile(r"^(?:table of )?contents?(?: (?:page|of this manual))?$|^toc$", re.IGNORECASE)
# Not among them: the joiners U+200C and U+200D, which spell Persian words and families of emoji.
_UNSEEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\x00-\x08\x0e-\x1b\x7f]")
_UNSPACED = re.compile("[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")  # CJK but for Korean, and its punctuation
_WIDE = 240  # characters of a header row, about a third of what the embedder reads of a passage
_MANY_COLUMNS = 6  # below it, long cells make the row long, and no cut by columns helps
_SOFT_HYPHEN_BREAK = re.compile("\u00ad\\s*")
_FUNCTION_WORD = re.compile(r"\b(?:a|an|and|at|by|for|from|in|into|of|on|or|the|to|with|your)$", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """What a parser found in one file: blocks in reading order, headings among them."""

    blocks: tuple[Block, ...]
    title: str = ""  # "" when the file names none
    pages: int = 0  # 0 where the format has no pages
    warnings: tuple[str, ...] = ()
    product: str = ""  # "" when the file does not name it apart from its title


def tidy(text: str) -> str:
    """The text on one line, ligatures and odd spaces normalised, soft hyphens and zero-width characters removed."""
    text = _SOFT_HYPHEN_BREAK.sub("", text)
    for ligature, plain in (("ﬁ", "fi"), ("ﬂ", "fl"), ("ﬀ", "ff"), ("ﬃ", "ffi"), ("ﬄ", "ffl")):
        text = text.replace(ligature, plain)
    text = _UNSEEN.sub("", text)
    return " ".join(unicodedata.normalize("NFC", text).split())


def join_lines(text: str, following: str) -> str:
    """Two lines of one paragraph as one; Chinese and Japanese go on without a space."""
    return text + ("" if _UNSPACED.match(text[-1:]) and _UNSPACED.match(following[:1]) else " ") + following


def text_block(text: str, page: int | None = None) -> Block:
    """A paragraph, step, list item or warning, told apart by how its text begins.

    "Warning! Hot." becomes "WARNING: Hot.", "CAUTION Hot." "CAUTION: Hot.", "2) Press" "2. Press", and every bullet "- ".
    """
    text = tidy(text)
    step = _STEP.match(text)
    if step:
        return Block("step", f"{int(step[1])}. {text[step.end() :]}", page=page)
    bullet = _BULLET.match(text)
    if bullet:
        return Block("list_item", f"- {text[bullet.end() :]}", page=page)
    if _LETTERED.match(text):
        return Block("list_item", text, page=page)
    return as_warning(Block("paragraph", text, page=page))


def starts_anew(last: str, text: str, short: bool, room: bool = False) -> bool:
    """Whether the line `text` begins a new paragraph after the line `last`.

    `short`: `last` ended well before the margin; `room`: not well before, but `text`'s first word would have fitted there.
    """
    if text_block(text).kind != "paragraph":
        return True
    if text[0] in ",;:)":
        return False
    ended = last.endswith((".", "!", "?", ":"))
    if ended:
        # A short line without an end of its own is a label, even below a full line.
        return short or (room and not text[0].islower()) or (len(text) < 30 and text[-1] not in ".!?,;" and text[0].isupper())
    return short and not text[0].islower() and not _FUNCTION_WORD.search(last)


def as_warning(block: Block) -> Block:
    """The block, with kind and prefix of a warning when it begins with a signal word in capitals or with its mark."""
    if block.text[0] in _TRIANGLES and len(block.text) > 2:
        return replace(block, kind="warning", text=as_warning(replace(block, text=block.text[1:].lstrip("\ufe0f ") or " ")).text)
    match = _SIGNAL.match(block.text)
    if not match or not block.text[match.end() :]:
        return replace(block, kind="warning") if _SHOUTED.match(block.text) else block
    word = match["loud"] or match["quiet"]
    # "Warning lights are red" is a sentence, "IMPORTANT POINTS:" a label; "WARNING Hot surface" and "Warning: hot" are warnings.
    marked = re.search(r"[:!.,：！–—-][\s*_]*$", match[0])
    if not marked and (not word.isupper() or block.text.endswith(":")):
        return block
    kind: BlockKind = "warning" if re.fullmatch(_HAZARD, word, re.IGNORECASE) else block.kind
    return replace(block, kind=kind, text=f"{word.upper()}: {block.text[match.end() :]}")


def is_signal_word(text: str) -> bool:
    """Whether the text is nothing but a signal word, as above a boxed warning."""
    return bool(re.fullmatch(rf"\W*({_HAZARD}|NOTE|TIP|HINT)S?\W*", text, re.IGNORECASE))


def is_contents_line(text: str) -> bool:
    """Whether a line is an entry of a table of contents: dots that lead to a page number."""
    return bool(_LEADER.search(text))


def is_contents_title(text: str) -> bool:
    """Whether a line is the title of a table of contents."""
    return bool(_CONTENTS.match(text.strip(" :")))


def promote_codes(blocks: Sequence[Block]) -> list[Block]:
    """The blocks, with a heading put before lines like "E04 - Motor blocked" where three or more in a section head a text each.

    The line itself stays: it is part of what is quoted.
    """
    found: list[Block] = []
    level, marks = 0, list[int]()

    def promote() -> None:
        for n in reversed(marks if len(marks) >= 3 else []):
            found.insert(n, replace(found[n], kind="heading", level=min(level + 1, 6)))
        marks.clear()

    for block, following in zip_longest(blocks, blocks[1:]):
        if block.kind == "heading":
            promote()
            level = block.level
        elif _is_code(block) and following and following.kind in ("paragraph", "warning") and not _is_code(following):
            marks.append(len(found))
        found.append(block)
    promote()
    return found


def _is_code(block: Block) -> bool:
    return block.kind == "paragraph" and bool(_CODE.match(block.text)) and block.text[-1] not in ".!?;," and len(block.text) < 110


def build_sections(blocks: Iterable[Block]) -> tuple[Section, ...]:
    """Blocks gathered under their headings. Headings without blocks of their own, and tables of contents, are left out.

    A contents list would match every question and answer none.
    """
    sections: list[Section] = []
    path: list[Block] = []
    found: list[Block] = []

    def close() -> None:
        kept = tuple(b for b in found if b.text and not is_contents_line(b.text))
        if kept and not (path and is_contents_title(path[-1].text)):
            sections.append(Section(tuple(h.text for h in path), kept))
        found.clear()

    for block in blocks:
        if block.kind != "heading":
            found.append(block)
            continue
        close()
        while path and path[-1].level >= block.level:
            path.pop()
        path.append(block)
    close()
    return tuple(sections)


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """One line per row, cells joined by " | "; rows without text are dropped, and columns that are empty everywhere."""
    clean = [[tidy(cell).replace("|", "/") for cell in row] for row in rows]
    width = max((len(row) for row in clean), default=0)
    clean = [row + [""] * (width - len(row)) for row in clean if any(row)]
    used = [n for n in range(width) if any(row[n] for row in clean)]
    return "\n".join(" | ".join(row[n] for n in used) for row in clean)


def split_wide_tables(blocks: Iterable[Block]) -> list[Block]:
    """The blocks, with tables whose header row is too long to repeat cut by columns; every part keeps the first column."""
    found: list[Block] = []
    for block in blocks:
        head = block.text.partition("\n")[0]
        wide = block.kind == "table" and len(head) > _WIDE and head.count(" | ") >= _MANY_COLUMNS
        found += _cut_columns(block) if wide else [block]
    return found


def _cut_columns(block: Block) -> list[Block]:
    rows = [line.split(" | ") for line in block.text.split("\n")]
    head = rows[0]
    groups: list[list[int]] = [[0]]
    for column in range(1, len(head)):
        if len(groups[-1]) > 1 and len(" | ".join(head[n] for n in [*groups[-1], column])) > _WIDE:
            groups.append([0])
        groups[-1].append(column)
    # Rows with nothing in these columns are left out.
    tables = [[[row[n] for n in group] for row in rows if any(row[n] for n in group[1:])] for group in groups]
    return [replace(block, text="\n".join(" | ".join(row) for row in table)) for table in tables]


def readable_title(name: str) -> str:
    """A title for people from metadata or a file name: "Microsoft Word - CX_10-manual.docx" -> "CX 10-manual"."""
    name = re.sub(r"^Microsoft (?:Word|PowerPoint|Excel) - ", "", tidy(name))
    name = re.sub(r"\.(?:docx?|pdf|odt|rtf|txt|md|html?|rst|indd|pptx?)$", "", name, flags=re.IGNORECASE)
    name = name.replace("_", " ")
    if " " not in name:
        name = name.replace("-", " ")
    return " ".join(name.split())


def title_from_source(source: str) -> str:
    """The file's name as a title; its folder's name where the file's says nothing ("manual", "index")."""
    path = PurePosixPath(source)
    name = path.parent.name if path.stem.lower() in ("manual", "index", "readme") and path.parent.name else path.stem
    title = readable_title(name)
    return title[:1].upper() + title[1:]
