"""CSV (an error-code list, a parts list) -> one table."""

from __future__ import annotations

import csv
import io

from emendo.records import Block, UserError
from rag.decoding import decode
from rag.outline import Reading, table_text


def read(data: bytes, source: str) -> Reading:
    """The reading of a CSV file; its delimiter is sniffed among comma, semicolon, tab and bar."""
    text = decode(data, source)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:20_000], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    try:
        rows = list(csv.reader(io.StringIO(text), dialect))
    except csv.Error as error:
        raise UserError(f"{source}: not a readable CSV file ({error}). Save it anew as CSV, UTF-8.") from error
    return Reading((Block("table", table_text(rows)),))
