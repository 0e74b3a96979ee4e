"""Scanned page -> lines, by Tesseract through pytesseract: the optional extra `emendo[ocr]`."""

from __future__ import annotations

import re
from dataclasses import replace
from statistics import median
from typing import Any

from emendo.records import Box, UserError
from rag.outline import tidy
from rag.pdf_lines import Line

_DPI = 300  # what Tesseract's models were trained for
_MAX_PIXELS = 6000  # of the longer side: a poster is read smaller
_SECONDS_PER_PAGE = 120
_MIN_CONFIDENCE = 40  # of 100; below it, a word is more often dirt or a picture than text
_SAME_SIZE = 0.2  # Tesseract measures a line by its letters: sizes this near to the page's usual one are that one


def check_ocr(languages: str) -> None:
    """Raise UserError unless Tesseract and its models for these languages ("eng", "eng+deu") are installed."""
    try:
        import pytesseract
    except ImportError as error:
        raise UserError('OCR needs pytesseract; run: pip install "emendo[ocr]"') from error
    try:
        installed = set(pytesseract.get_languages())
    except (pytesseract.TesseractNotFoundError, OSError) as error:
        raise UserError("OCR needs the program tesseract; on Debian or Ubuntu run: apt install tesseract-ocr") from error
    missing = [language for language in languages.split("+") if language not in installed]
    if missing:
        names = ", ".join(sorted(installed - {"osd"})) or "none"
        raise UserError(
            f"index.ocr = {languages!r}: tesseract has no language {missing[0]!r}, it has: {names}; "
            f"on Debian or Ubuntu run: apt install tesseract-ocr-{missing[0]}"
        )


def read_page(page: Any, number: int, languages: str) -> tuple[Line, ...]:
    """The lines that Tesseract reads on a page, top to bottom as it orders them; () where it finds none or takes too long.

    `page` is a pypdfium2 page.
    """
    import pytesseract
    from lxml import html

    scale = min(_DPI / 72, _MAX_PIXELS / max(page.get_size()))
    image = page.render(scale=scale).to_pil()
    try:
        hocr = pytesseract.image_to_pdf_or_hocr(image, lang=languages, extension="hocr", timeout=_SECONDS_PER_PAGE)
    except RuntimeError:  # also pytesseract's own TesseractError, which is one
        return ()
    found = []
    for element in html.fromstring(hocr).iter("span"):
        title = element.get("title", "")
        size = re.search(r"x_size ([\d.]+)", title)
        corners = re.search(r"bbox (\d+) (\d+) (\d+) (\d+)", title)
        words = [
            tidy(word.text_content()) for word in element.iter("span") if _confidence(word.get("title", "")) >= _MIN_CONFIDENCE
        ]
        if size and corners and any(words):
            box = Box(number, *(round(int(corner) / scale, 1) for corner in corners.groups()))
            found.append(Line(" ".join(filter(None, words)), box, round(float(size[1]) / scale, 1), bold=False))
    usual = median(line.size for line in found) if found else 0.0
    return tuple(replace(line, size=usual) if abs(line.size - usual) <= usual * _SAME_SIZE else line for line in found)


def _confidence(title: str) -> int:
    match = re.search(r"x_wconf (\d+)", title)
    return int(match[1]) if match else -1
