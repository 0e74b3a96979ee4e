"""Bytes of a text file -> str, whatever its encoding."""

from __future__ import annotations

import codecs

from emendo.records import UserError

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"))
_MARKS_16 = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BINARY = (
    (b"%PDF", ".pdf"),
    (b"PK\x03\x04", ".docx or .zip"),
    (b"\xd0\xcf\x11\xe0", ".doc"),
    (b"\x89PNG", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
)


def decode(data: bytes, source: str) -> str:
    """Text with "\\n" line ends. UTF-8 first, then what charset-normalizer finds. Raises UserError for binary files."""
    for magic, suffix in _BINARY:
        if data.startswith(magic):
            raise UserError(f"{source}: holds no text but looks like a {suffix} file. Give it its right name.")
    text = _decode_marked(data)
    if text is None:
        if b"\x00" in data[:4096]:
            raise UserError(f"{source}: holds binary data, expected text. Give it its right name or leave it out.")
        text = _decode_utf8(data) or _guess(data, source)[0]
    return text.replace("\r\n", "\n").replace("\r", "\n")


def encoding_warning(data: bytes, source: str) -> str:
    """What to tell the user where `decode` had to guess; "" where it knew."""
    if _decode_marked(data) is not None or not data:
        return ""
    text = _decode_utf8(data)
    if text is None:
        return f"is not UTF-8, was read as {_guess(data, source)[1]}; if its letters look wrong, save it as UTF-8"
    bad = text.count("\ufffd") - data.count("\ufffd".encode())
    return f"{bad} byte(s) are not UTF-8 and show as \ufffd; save it as UTF-8" if bad > 0 else ""


def _decode_marked(data: bytes) -> str | None:
    for mark, encoding in (*_MARKS, *_MARKS_16):
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    return None


def _decode_utf8(data: bytes) -> str | None:
    """The text where it is UTF-8 but for a few bytes, as after a careless edit; None where it is another encoding."""
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = len(text) - sum(char < "\x80" for char in text) - bad if bad else 0
    return text if bad * 4 <= good else None


def _guess(data: bytes, source: str) -> tuple[str, str]:
    """(text, name of the encoding)"""
    import charset_normalizer

    best = charset_normalizer.from_bytes(data).best()
    if best is None:
        raise UserError(f"{source}: its text encoding could not be told. Save it as UTF-8.")
    return str(best), best.encoding
