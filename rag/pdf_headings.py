"""Which lines of a PDF are headings, and of what level: by its own outline where it has one, else by size, weight, numbering."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rag.outline import is_contents_line, is_signal_word, text_block
from rag.pdf_lines import Line, OutlineEntry, Page

_NUMBER = re.compile(r"^(?:chapter\s+)?(\d{1,2}(?:\.\d{1,2}){0,4})[.:]?\s+\S", re.IGNORECASE)
_LARGER = 1.12  # a heading's size over the body's
_MAX_WORDS = 16
_MIN_OUTLINE_MATCHES = 0.6  # below it, the outline does not describe this text
_SPARSE = 1 / 3  # entries a page; an outline of fewer names chapters only
_PRINTED_NUMBER = re.compile(r"(?:chapter|part|appendix|annex|section)?(?:[a-z]?\d*|[ivx]+)")  # of a key


def find_headings(pages: Sequence[Page], outline: Sequence[OutlineEntry]) -> dict[Line, int]:
    """Level of every line that is a heading (1 is the outermost): by the outline from its first page on, before it inferred."""
    matched = _match_outline(pages, outline)
    titles = {(entry.page, _key(entry.title)) for entry in outline}
    if outline and len(matched) >= _MIN_OUTLINE_MATCHES * len(titles):
        begins = min(line.box.page for line in matched)
        inferred = _infer(pages)
        before = {line: level for line, level in inferred.items() if line.box.page < begins}
        if len(titles) < _SPARSE * len(pages):
            matched = _add_below(pages, matched, {line: level for line, level in inferred.items() if line not in before})
        return before | matched
    return _infer(pages)


def _add_below(pages: Sequence[Page], matched: dict[Line, int], inferred: dict[Line, int]) -> dict[Line, int]:
    """The outline's headings and, each below the one before it, those that it does not name."""
    outermost = min((level for line, level in inferred.items() if line not in matched), default=1)
    found, above = {}, 0
    for line in (line for page in pages for line in page.lines):
        if line in matched:
            above = found[line] = matched[line]
        elif line in inferred:
            found[line] = min(above + 1 + inferred[line] - outermost, 6)
    return found


def body_size(pages: Sequence[Page]) -> float:
    """The font size most characters have."""
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _key(text: str) -> str:
    return re.sub(r"\W+", "", text.lower())


def _match_outline(pages: Sequence[Page], outline: Sequence[OutlineEntry]) -> dict[Line, int]:
    by_number = {page.number: [(line, _key(line.text)) for line in page.lines] for page in pages}
    found: dict[Line, int] = {}
    for entry in outline:
        lines = by_number.get(entry.page, [])
        for start in _by_distance(lines, entry.y):
            taken = _spell([key for _, key in lines[start : start + 4]], _key(entry.title))
            if taken and lines[start][0] not in found:
                found.update(dict.fromkeys((line for line, _ in lines[start : start + taken]), entry.level))
                break
    return found


def _by_distance(lines: Sequence[tuple[Line, str]], y: float | None) -> list[int]:
    order = list(range(len(lines)))
    return order if y is None else sorted(order, key=lambda n: abs(lines[n][0].box.y0 - y))


def _spell(keys: Sequence[str], wanted: str) -> int:
    """How many of the lines, from the first on, together spell the wanted title; 0 when they do not.

    The outline may lack the number that is printed before a heading ("Part I", "A.2"), or hold one that is drawn apart.
    """
    spelled = ""
    for n, key in enumerate(keys, 1):
        spelled += key
        if key and wanted and spelled.endswith(wanted) and _PRINTED_NUMBER.fullmatch(spelled[: -len(wanted)]):
            return n
    return 0


def _infer(pages: Sequence[Page]) -> dict[Line, int]:
    body = body_size(pages)
    loud = _emphasised(pages)
    found = []
    for page in pages:
        for n, line in enumerate(page.lines):
            above, below = (page.lines[n - 1] if n else None), (page.lines[n + 1] if n + 1 < len(page.lines) else None)
            larger, as_large = line.size >= body * _LARGER, line.size >= body * 0.9
            if _could_be_heading(line) and (larger or (as_large and line in loud and _stands_alone(line, above, below, loud))):
                found.append(line)
    return _levels(found, loud, {line for line in found if line.size < body * _LARGER})


def _emphasised(pages: Sequence[Page]) -> set[Line]:
    """Lines in bold or in another font than the body's; none when they are so many that it means nothing."""
    lines = [line for page in pages for line in page.lines]
    fonts: Counter[str] = Counter()
    for line in lines:
        fonts[line.font] += len(line.text)
    body = fonts.most_common(1)[0][0] if fonts else ""
    total = sum(fonts.values())
    bold = {line for line in lines if line.bold}
    if sum(len(line.text) for line in bold) > total / 3:
        bold = set()
    other = {line for line in lines if line.font != body and not re.search("italic|oblique|symbol|dings", line.font)}
    # A driver that hides font names and weights still uses another font for headings; real names say it better.
    hidden = not any(line.bold for line in lines) and sum(len(line.text) for line in other) <= total / 3
    return {line for line in (bold | other if hidden else bold) if not line.mono}


def _could_be_heading(line: Line) -> bool:
    text = line.text
    if len(text) > 120 or len(text.split()) > _MAX_WORDS or sum(c.isalpha() for c in text) < 2 or is_contents_line(text):
        return False
    if line.box.y1 - line.box.y0 > line.box.x1 - line.box.x0 and len(text) > 3:  # written upwards, at a chart
        return False
    if len(line.pieces) > 1 and not _NUMBER.match(text):  # the header row of a table
        return False
    if text[0] in "•▪" or "\ue000" <= text[0] <= "\uf8ff" or text[-1] in ",;":
        return False
    if text.endswith(".") and len(text.split()) > 6 and _depth(line) < 2:
        return False
    # A signal word in large letters stands above its warning.
    return not is_signal_word(text) and text_block(text).kind != "warning" and "://" not in text


def _stands_alone(line: Line, above: Line | None, below: Line | None, loud: set[Line]) -> bool:
    """For a line as small as the body: nothing but a heading is loud, short, no sentence, and set apart from what is above."""
    words = line.text.split()
    if (
        line.text[-1] == "."
        or line.text.lstrip("-–([“\"' ")[:1].islower()
        or (len(words) > 10 and not (line.text[-1] == ":" and sum(word[0].isupper() for word in words) > len(words) / 2))
        or text_block(line.text).kind == "list_item"
    ):
        return False
    step = text_block(line.text).kind == "step" and not (line.text[-1] == ":" and below is not None and below not in loud)
    apart = above is None or line.box.y0 - above.box.y1 > line.size * 0.5 or line.box.y0 < above.box.y0
    same_row = above is not None and abs(above.box.y0 - line.box.y0) < line.size * 0.5
    # Loud over two lines and more is emphasis, not a heading.
    emphasis = below is not None and below in loud and below.size == line.size and below.box.y0 - line.box.y1 < line.size * 0.5
    return apart and not same_row and not emphasis and not step


def _levels(headings: Sequence[Line], loud: set[Line], loud_only: set[Line]) -> dict[Line, int]:
    """Level by the depth of the number where headings are numbered; others by their place among the sizes."""
    style = {line: (round(line.size * 2) / 2, line in loud) for line in headings}
    # A style used once, as of the title, heads nothing after it: it takes the rank of the next one.
    cover = 1 if max((line.box.page for line in headings), default=0) > 8 else 0
    first = [line for n, line in enumerate(headings) if not (n and _goes_on(headings[n - 1], line))]
    used = Counter(style[line] for line in first if line.box.page != cover)
    styles = sorted((one for one in used if used[one] > 1), reverse=True)
    depths = {one: Counter(_depth(a) for a in headings if style[a] == one and _depth(a)) for one in set(style.values())}
    numbered = sum(1 for line in headings if _depth(line)) > len(headings) / 2
    largest = max((style[line][0] for line in headings if _depth(line)), default=0.0)
    outermost = min((_depth(line) for line in headings if _depth(line)), default=1)
    found, chapter = {}, 0
    for line in headings:
        rank = sum(one > style[line] for one in styles) + 1
        if numbered:
            # Without a number: beside its like where they stand out by size, else below the numbered one before it.
            usual = depths[style[line]].most_common(1)
            beside = usual[0][0] if usual and line not in loud_only else 0
            if outermost > 1 and style[line][0] > largest:  # the chapters have no numbers, their sections have
                beside = outermost - 1
            rank = _depth(line) or beside or (chapter + 1 if chapter else rank)
            chapter = _depth(line) or chapter
        found[line] = min(rank, 6)
    return found


def _goes_on(last: Line, line: Line) -> bool:
    """Whether two headings are lines of one."""
    return last.box.page == line.box.page and last.size == line.size and 0 < line.box.y1 - last.box.y1 < 2 * line.size


def _depth(line: Line) -> int:
    match = _NUMBER.match(line.text)
    return match[1].count(".") + 1 if match else 0
