"""Single characters of a PDF page through pdfium: font, size, place; rows told apart; accents joined; raised digits known."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import pypdfium2.raw as raw

_NEXT_ROW = 0.7  # font sizes from baseline to baseline; superscripts stay below it
_BOLD = re.compile(r"bold|black|heavy|demi|cmbx|cmb\d|medi(?!um)")
_NOT_BOLD = re.compile(r"roman|regu|light|book|cmr\d|cmtt\d|cmti\d|cmsl")
# Accents as characters of their own, which TeX's older fonts print before their letter (the cedilla after it).
_ACCENTS = dict(zip("`´ˆ˜¨˚ˇ¸¯˘˙˝", "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0327\u0304\u0306\u0307\u030b", strict=True))
_DOTLESS = {"ı": "i", "ȷ": "j"}
RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_RAISED = str.maketrans("0123456789", RAISED)
_SMALL = 0.85  # of the line's size; raised digits are smaller
_RISE = 0.2  # of the line's size, from its baseline to that of a raised digit
_UNSEEN = "\u200b"  # what takes the place of a character that became part of another


def drawn_size(page: Any, index: int) -> float:
    """The font size times the scale of its matrix: some printers write everything in size 1 and scale it."""
    matrix = raw.FS_MATRIX()
    size = raw.FPDFText_GetFontSize(page, index)
    if raw.FPDFText_GetMatrix(page, index, matrix):
        size *= (matrix.c**2 + matrix.d**2) ** 0.5
    return size


def font_name(page: Any, index: int) -> str:
    buffer = ctypes.create_string_buffer(128)
    flags = ctypes.c_int()
    raw.FPDFText_GetFontInfo(page, index, buffer, len(buffer), flags)
    return buffer.value.decode("utf-8", "replace").lower()


def is_bold(page: Any, index: int, font: str) -> bool:
    """By the font's name, else by its weight; weights above 1000 are noise of printer drivers."""
    if _BOLD.search(font):
        return True
    return not _NOT_BOLD.search(font) and 600 <= raw.FPDFText_GetFontWeight(page, index) <= 1000


def char_box(page: Any, index: int) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of what is drawn, in the page's own space."""
    values = [ctypes.c_double() for _ in range(4)]
    raw.FPDFText_GetCharBox(page, index, *values)
    return values[0].value, values[1].value, values[2].value, values[3].value


def row_starts(page: Any, start: int, text: str, size: float) -> Iterator[int]:
    """Where in the text of the characters from `start` on a new row begins.

    pdfium finds no ends of lines on a page of short lines only, as a list of words in one column.
    """
    x, y = ctypes.c_double(), ctypes.c_double()
    last: tuple[bool, float] | None = None
    for n, char in enumerate(text):
        if char.isspace() or not raw.FPDFText_GetCharOrigin(page, start + n, x, y):
            continue
        turned = abs(raw.FPDFText_GetCharAngle(page, start + n)) > 0.01
        if last and (turned != last[0] or (not turned and abs(y.value - last[1]) > size * _NEXT_ROW)):
            yield n
        last = turned, y.value


def compose_accents(page: Any, start: int, text: str) -> str:
    """The text, of the same length, with accents that are drawn over or under a letter joined to it: "J´erˆome" -> "Jérôme"."""
    found = list(text)
    for n, char in enumerate(text):
        if char not in _ACCENTS:
            continue
        left, right, _, _ = char_box(page, start + n)
        for other in (n + 1, n - 1):
            if not 0 <= other < len(text) or not text[other].isalpha():
                continue
            composed = unicodedata.normalize("NFC", _DOTLESS.get(text[other], text[other]) + _ACCENTS[char])
            begins, ends, _, _ = char_box(page, start + other)
            if len(composed) == 1 and begins < (left + right) / 2 < ends:
                found[other], found[n] = composed, _UNSEEN
                break
    return "".join(found)


def raise_digits(page: Any, start: int, text: str, size: float) -> str:
    """The text, of the same length, with digits set small and high as such: a note's mark ("GTK¹"), a power ("10³")."""
    found = list(text)
    for run in re.finditer(r"[0-9]+", text):
        base: float | None = None
        for n in range(run.end() - 1, run.start() - 1, -1):
            if drawn_size(page, start + n) > size * _SMALL:
                break
            base = _nearest_baseline(page, start, text, size, n) if base is None else base
            if base is None or _baseline(page, start + n) - base < size * _RISE:
                break
            found[n] = text[n].translate(_RAISED)
    return "".join(found)


def part_marks(text: str) -> str:
    """The text with a space between a word or its full stop and a note's mark, and after a mark that begins the note."""
    text = re.sub(rf"([^\W\d_]{{3}}|[^\w\s(+−-])(?=[{RAISED}])", r"\1 ", text)
    return re.sub(rf"^([{RAISED}]+)(?=[^\s{RAISED}])", r"\1 ", text)


def _nearest_baseline(page: Any, start: int, text: str, size: float, at: int) -> float | None:
    """The baseline of the nearest letter or digit of the line's own size."""
    for n in sorted(range(len(text)), key=lambda n: abs(n - at)):
        if text[n].isalnum() and drawn_size(page, start + n) > size * _SMALL:
            return _baseline(page, start + n)
    return None


def _baseline(page: Any, index: int) -> float:
    x, y = ctypes.c_double(), ctypes.c_double()
    return y.value if raw.FPDFText_GetCharOrigin(page, index, x, y) else 0.0
