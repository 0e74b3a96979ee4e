"""Sections -> chunks: passages that fit the embedder's window together with their header, cut where a reader would cut.

A chunk never leaves its section. A procedure stays whole where it fits, with the warning and words before it where there is room
for them too; a longer one is cut between steps and a warning stays with the step beside it. A table is cut between rows and every
part keeps the header row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from emendo.records import Block, Box, Chunk, Section, content_id
from rag.manuals import ParsedManual

CHUNKER_VERSION = "2"  # raise it when the same blocks would give other chunks
CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class ChunkSettings:
    """Sizes are tokens of the embedder, special tokens included."""

    max_tokens: int = 240  # header and text together; MiniLM reads 256 and drops the rest in silence
    max_header_share: float = 0.4  # of max_tokens; a longer header loses its middle headings, then its title's end


@dataclass(frozen=True)
class _Unit:
    """Blocks that belong together, and their tokens."""

    blocks: tuple[Block, ...]
    tokens: int


def chunk_manual(manual: ParsedManual, count_tokens: CountTokens, settings: ChunkSettings = ChunkSettings()) -> list[Chunk]:
    """All chunks of a manual in reading order; ids are unique and the same for the same input."""
    chunks: list[Chunk] = []
    seen: dict[str, int] = {}
    document = manual.document
    for section in manual.sections:
        header = make_header(document.title, section.path, count_tokens, int(settings.max_tokens * settings.max_header_share))
        budget = settings.max_tokens - count_tokens(header)
        for blocks in _pack(_units(section, budget, count_tokens), budget):
            text = "\n".join(block.text for block in blocks)
            identity = content_id(document.sha256, header, text)
            repeats = seen[identity] = seen.get(identity, 0) + 1
            chunks.append(
                Chunk(
                    chunk_id=identity if repeats == 1 else content_id(document.sha256, header, text, str(repeats)),
                    doc_id=document.doc_id,
                    title=document.title,
                    product=document.product,
                    section=section.path,
                    text=text,
                    header=header,
                    pages=_pages(blocks),
                    boxes=_boxes(blocks),
                    source=document.source,
                    position=len(chunks),
                )
            )
    return chunks


def make_header(title: str, path: Sequence[str], count_tokens: CountTokens, max_tokens: int) -> str:
    """ "title > H1 > H2", without headings that repeat the end of the one before; shortened from the middle until it fits."""
    parts: list[str] = []
    for part in (title, *path):
        if part and not (parts and parts[-1].casefold().endswith(part.casefold())):
            parts.append(part)
    while len(parts) > 2 and count_tokens(" > ".join(parts)) > max_tokens:
        del parts[1]
    header = " > ".join(parts)
    while count_tokens(header) > max_tokens and " " in header:
        header = header.rsplit(" ", 1)[0]
    return header


def _units(section: Section, budget: int, count_tokens: CountTokens) -> list[_Unit]:
    """The section's blocks in units of at most `budget` tokens."""
    units: list[_Unit] = []
    for group in _groups(section.blocks):
        sized = [_Unit((block,), count_tokens(block.text)) for block in group]
        if sum(unit.tokens for unit in sized) <= budget:
            units.append(_join(sized))
        else:
            units += _split_group(sized, budget, count_tokens)
    return units


def _groups(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Runs of blocks to keep whole: a list with its introduction, a procedure with its warnings, a label with its text."""
    group: list[Block] = []
    for n, block in enumerate(blocks):
        following = blocks[n + 1] if n + 1 < len(blocks) else None
        group.append(block)
        if following is None or not _belongs(group, following):
            yield group
            group = []


def _belongs(group: Sequence[Block], following: Block) -> bool:
    last = group[-1]
    in_procedure = any(block.kind == "step" for block in group)
    if following.kind == "step":
        # "1." after a step begins another procedure.
        return last.kind == "warning" or (in_procedure and not following.text.startswith("1. ")) or last.text.endswith(":")
    if following.kind == "warning":
        return in_procedure
    if last.kind == "warning":
        return in_procedure and following.kind == "list_item"
    if last.kind != "paragraph":
        return False
    introduces = last.text.endswith(":") and following.kind in ("list_item", "table", "code")
    return introduces or (_is_label(last) and not _is_label(following))


def _is_label(block: Block) -> bool:
    """Whether the block only names what follows: "E01 - Overvoltage"."""
    return block.kind == "paragraph" and len(block.text.split()) <= 10 and block.text[-1] not in ".!?;,"


def _split_group(sized: Sequence[_Unit], budget: int, count_tokens: CountTokens) -> list[_Unit]:
    """A group that is too long, as units: steps that fit without what is before them stay whole; else a warning keeps the block
    after it (before it at the end), and long blocks are cut."""
    first = next((n for n, unit in enumerate(sized) if unit.blocks[0].kind == "step"), 0)
    if first and sum(unit.tokens for unit in sized[first:]) <= budget:
        return [*_split_group(sized[:first], budget, count_tokens), _join(sized[first:])]
    units: list[_Unit] = []
    held: list[_Unit] = []
    for unit in sized:
        held.append(unit)
        if unit.blocks[-1].kind == "warning" or (unit.blocks[-1].text.endswith(":") and unit is not sized[-1]):
            continue
        units += _fit(held, budget, count_tokens)
        held = []
    if held and units and units[-1].tokens + sum(u.tokens for u in held) <= budget:
        held.insert(0, units.pop())
    return units + (_fit(held, budget, count_tokens) if held else [])


def _fit(held: Sequence[_Unit], budget: int, count_tokens: CountTokens) -> list[_Unit]:
    if sum(unit.tokens for unit in held) <= budget:
        return [_join(held)]
    return [part for unit in held for part in _cut_block(unit, budget, count_tokens)]


def _cut_block(unit: _Unit, budget: int, count_tokens: CountTokens) -> list[_Unit]:
    """One block in parts of at most `budget` tokens: a table between rows, other text between sentences or words."""
    block = unit.blocks[0]
    if unit.tokens <= budget or len(unit.blocks) > 1:
        return [unit]
    rows = block.text.split("\n")
    if block.kind == "table" and len(rows) > 2 and count_tokens(rows[0]) < budget / 2:
        texts = _cut_rows(rows, budget, count_tokens)
    else:
        texts = [block.text]
    parts = [part for text in texts for part in _cut_text(text, budget, count_tokens)]
    return [_Unit((replace(block, text=text),), count_tokens(text)) for text in parts]


def _cut_rows(rows: Sequence[str], budget: int, count_tokens: CountTokens) -> list[str]:
    """Row groups of near-equal size, the header row before each."""
    room = budget - count_tokens(rows[0])
    sizes = [count_tokens(row) for row in rows[1:]]
    groups = _balance(sizes, room)
    return ["\n".join([rows[0], *rows[1 + start : 1 + end]]) for start, end in groups]


def _cut_text(text: str, budget: int, count_tokens: CountTokens) -> list[str]:
    if count_tokens(text) <= budget:
        return [text]
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        chunk_size=budget,
        chunk_overlap=0,
        length_function=count_tokens,
        separators=["\n", r"(?<=[.!?;]) ", " ", ""],
        is_separator_regex=True,
        keep_separator="end",
    )
    return [part.strip() for part in splitter.split_text(text) if part.strip()]


def _pack(units: Sequence[_Unit], budget: int) -> Iterator[tuple[Block, ...]]:
    """The section's chunks: as few as possible, of near-equal size, so that no scrap is left at the end."""
    for start, end in _balance([unit.tokens for unit in units], budget):
        yield tuple(block for unit in units[start:end] for block in unit.blocks)


def _balance(sizes: Sequence[int], budget: int) -> list[tuple[int, int]]:
    """Runs [start, end) over `sizes`, each summing to at most `budget` where single sizes do, in as few runs as greedy filling
    needs and with the longest run as short as that allows."""

    def runs(limit: int) -> list[tuple[int, int]]:
        found, start, total = [], 0, 0
        for n, size in enumerate(sizes):
            if n > start and total + size > limit:
                found.append((start, n))
                start, total = n, 0
            total += size
        return [*found, (start, len(sizes))] if sizes else []

    best = runs(budget)
    low, high = 1, budget
    while low < high:  # the smallest limit that needs no more runs
        middle = (low + high) // 2
        if len(runs(middle)) <= len(best):
            high = middle
        else:
            low = middle + 1
    return runs(high)


def _join(units: Sequence[_Unit]) -> _Unit:
    return _Unit(tuple(block for unit in units for block in unit.blocks), sum(unit.tokens for unit in units))


def _pages(blocks: Sequence[Block]) -> tuple[int, ...]:
    return tuple(sorted({box.page for b in blocks for box in b.boxes} | {b.page for b in blocks if b.page is not None}))


def _boxes(blocks: Sequence[Block]) -> tuple[Box, ...]:
    return tuple(dict.fromkeys(box for block in blocks for box in block.boxes))
