"""Personal data in corrections: what should not be learned by heart. Flags for a person to look at, no filter."""

from __future__ import annotations

import re

from emendo.records import Correction

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(r"(?<![\w.])(?:\+|00|0|\()\d[\d ()/.-]{5,17}\d(?!\w)")
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_SERIAL = re.compile(r"(?<![\w-])(?=[A-Z0-9-]*[A-Z])(?=(?:[A-Z-]*\d){4})[A-Z0-9][A-Z0-9-]{6,23}[A-Z0-9](?![\w-])")


def personal_data(correction: Correction) -> list[tuple[str, str]]:
    """(kind, text) of each email address, telephone, card and serial number that is not the manual's own."""
    manual = " ".join(hit.chunk.text for hit in correction.hits)
    found: list[tuple[str, str]] = []
    for text in (correction.question, correction.corrected):
        rest = text
        for kind, pattern in (("email", _EMAIL), ("card number", _CARD), ("telephone", _PHONE), ("serial number", _SERIAL)):
            for match in pattern.findall(rest):
                if kind == "card number" and not _luhn(match):
                    continue
                rest = rest.replace(match, " ")  # one thing is told once
                if match not in manual and (kind, match) not in found:
                    found.append((kind, match))
    return found


def _luhn(number: str) -> bool:
    """The check digit of ISO/IEC 7812-1."""
    digits = [int(digit) for digit in reversed(re.sub(r"\D", "", number))]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0
