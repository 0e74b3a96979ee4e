"""Where on a PDF's pages the sentences stand that an answer quotes of a passage."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

Frame = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the drawn page, from the top left
_Letter = tuple[str, int, Frame]  # letter or digit, page, where it stands
_SHORT = 8  # letters; less is found by chance
_MARGIN = 3  # pixels by which a letter may stand out of its passage's box


def quoted_lines(
    document: Any, passage: Sequence[tuple[int, Frame]], quotes: Sequence[str], width: int
) -> list[tuple[int, Frame]]:
    """(page, frame) of each line of the quotes inside the passage's frames, in their order; none for what is not word for word.

    `document` is a pypdfium2.PdfDocument whose pages are drawn `width` pixels wide, page numbers are 1-based. Only letters and
    digits are compared, for spaces, hyphens and bullets are not the same in a file and in its text.
    """
    if not quotes:
        return []
    letters = [letter for page in sorted({page for page, _ in passage}) for letter in _letters(document, page, passage, width)]
    text = "".join(letter for letter, _, _ in letters)
    found: list[tuple[int, Frame]] = []
    for quote in quotes:
        for piece in [quote] if _plain(quote) in text else quote.splitlines():
            cells = [piece] if _plain(piece) in text else piece.split(" | ")
            found += _row(letters, text, sorted(map(_plain, cells), key=len, reverse=True))
    return found


def _row(letters: Sequence[_Letter], text: str, cells: Sequence[str]) -> list[tuple[int, Frame]]:
    """The lines of a row's cells, the longest cell first; of several places the one where most cells stand level with that."""
    longest, *others = cells
    if len(longest) < _SHORT:
        return []
    rows = []
    for first in _places(letters, text, longest):
        level = (next((lines for lines in _places(letters, text, cell) if _level(first, lines)), []) for cell in others)
        rows.append([first, *filter(None, level)])
    return [line for lines in max(rows, key=len, default=[]) for line in lines]


def _places(letters: Sequence[_Letter], text: str, wanted: str) -> Iterator[list[tuple[int, Frame]]]:
    """The lines of each place where the letters stand."""
    at = text.find(wanted) if wanted else -1
    while at >= 0:
        yield _lines(letters[at : at + len(wanted)])
        at = text.find(wanted, at + 1)


def _level(left: Sequence[tuple[int, Frame]], right: Sequence[tuple[int, Frame]]) -> bool:
    """Whether a line of the one stands at the height of a line of the other, on the same page."""
    return any(a == b and min(f[3], g[3]) > max(f[1], g[1]) for a, f in left for b, g in right)


def _letters(document: Any, number: int, passage: Sequence[tuple[int, Frame]], width: int) -> list[_Letter]:
    """(letter, page, frame) of each letter and digit of a page that stands in the passage, in the order of the file."""
    from pypdfium2 import PdfPosConv
    from pypdfium2.raw import FPDFText_GetUnicode

    page = document[number - 1]
    text = page.get_textpage()
    drawn = PdfPosConv(page, (0, 0, width, round(page.get_height() * width / page.get_width()), 0))
    frames = [frame for at, frame in passage if at == number]
    letters = []
    for index in range(text.count_chars()):
        plain = _plain(chr(FPDFText_GetUnicode(text, index)))
        if plain:
            left, bottom, right, top = text.get_charbox(index, loose=True)
            (xa, ya), (xb, yb) = drawn.to_bitmap(left, top), drawn.to_bitmap(right, bottom)
            frame = (min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))
            if any(_holds(other, frame) for other in frames):
                letters += [(letter, number, frame) for letter in plain]  # a ligature is several
    return letters


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text)))


def _holds(frame: Frame, letter: Frame) -> bool:
    x, y = (letter[0] + letter[2]) / 2, (letter[1] + letter[3]) / 2
    return frame[0] - _MARGIN <= x <= frame[2] + _MARGIN and frame[1] - _MARGIN <= y <= frame[3] + _MARGIN


def _lines(letters: Sequence[_Letter]) -> list[tuple[int, Frame]]:
    """One frame for each run of letters on one line."""
    starts = [0, *(n for n, (a, b) in enumerate(pairwise(letters), 1) if a[1] != b[1] or not _beside(a[2], b[2])), len(letters)]
    return [(letters[a][1], _around([frame for _, _, frame in letters[a:b]])) for a, b in pairwise(starts)]


def _beside(left: Frame, right: Frame) -> bool:
    """Whether the second letter goes on in the line of the first."""
    return right[0] >= left[0] and min(left[3], right[3]) - max(left[1], right[1]) > 0.3 * (left[3] - left[1])


def _around(frames: Sequence[Frame]) -> Frame:
    left, top, right, bottom = zip(*frames, strict=True)
    return min(left), min(top), max(right), max(bottom)


def columns(frames: Iterable[Frame]) -> list[Frame]:
    """The frames of a passage joined, one for each column of the page that it stands in."""
    joined: list[Frame] = []
    for frame in frames:
        if joined and frame[0] < joined[-1][2] and frame[2] > joined[-1][0] and frame[3] > joined[-1][1]:
            joined[-1] = _around([joined[-1], frame])
        else:
            joined.append(frame)
    return joined
