"""Files people give and get: JSONL read with each fault named, text written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emendo.records import UserError

BOM = "\ufeff"  # Windows' editors begin UTF-8 files with it


def read_jsonl(path: Path, what: str, faults: list[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line", object) for each line that is not blank; `what` names the file in errors, "questions" for example.

    UserError for a missing, empty or non-UTF-8 file and, when it is reached, for a line that is no JSON object; with `faults`
    such lines are told there and left out.
    """
    try:
        text = path.read_text(encoding="utf-8").removeprefix(BOM)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8 JSONL") from error
    except FileNotFoundError as error:
        raise UserError(f"{what} file {path} does not exist; give a JSONL file with one JSON object per line") from error
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise UserError(f"{what} file {path} {reason}; give a JSONL file with one JSON object per line") from error
    lines = text.split("\n")  # not splitlines: JSON text may hold U+2028 and other breaks
    if not any(line.strip() for line in lines):
        raise UserError(f"{what} file {path} is empty; expected one JSON object per line")
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield f"{path}:{number}", _object(f"{path}:{number}", line)
            except UserError as error:
                if faults is None:
                    raise
                faults.append(str(error))


def write_whole(path: Path, text: str) -> None:
    """Write UTF-8 text beside and rename, so that a reader never sees half of it; what cannot be encoded becomes `?`.

    OSError names `path`, and nothing is left beside it.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def weights_sha256(folder: Path) -> str:
    """Over the safetensors files of a model folder in name order; "" where there is none (a hub id)."""
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest() if files else ""


def _object(place: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # brackets nested without end are the second
        raise UserError(f"{place}: not JSON ({error}); mend or delete the line") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: expected a JSON object, got {type(row).__name__}")
    if "\\ud" in line.lower():  # half of a character can be escaped in JSON, but no tokenizer or database takes it
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{place}: holds half a character ({error.object[error.start]!r}); mend or delete the line"
            ) from error
    return row
