"""Manual file -> sections of blocks, in this process or, for files from anywhere, in a child with time and memory limits.

`python -m rag.manuals` is that child: it reads one JSON request from stdin and answers one JSON line per file. A parser that
crashes, hangs or eats all memory costs its own file only.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emendo.records import Document, Section, UserError, from_json
from rag.decoding import encoding_warning
from rag.manual_files import ManualFile, find_manuals
from rag.outline import Reading, build_sections, promote_codes, split_wide_tables, title_from_source

__all__ = ["ManualFile", "ParseLimits", "ParsedManual", "find_manuals", "parse", "parse_batch", "parse_isolated"]

PARSER_VERSION = "5"  # raise it when a parser's output changes: documents parsed by another version are parsed again
_PARSERS = {
    ".pdf": "pdf",
    ".docx": "docx",
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "rst",
    ".txt": "text",
    ".text": "text",
    ".csv": "csv",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
}
_TEXT_SUFFIXES = (".md", ".markdown", ".rst", ".txt", ".text", ".csv")
_SITE_SUFFIXES = (".html", ".htm", ".md", ".markdown", ".rst")  # pages that only list other pages are no failure there


@dataclass(frozen=True)
class ParsedManual:
    """A document and what stands in it, in reading order."""

    document: Document
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class ParseLimits:
    """What one file may take in the child process."""

    seconds: float = 180.0
    seconds_per_mb: float = 60.0  # more for a large file: ruled tables take a fifth of a second a page
    memory_mb: int = 2048  # address space; a 200-page PDF takes about 300

    def seconds_for(self, file: ManualFile) -> float:
        """What this file may take; of an archive's member, by the size of the archive."""
        size = file.path.stat().st_size if file.path.exists() else 0
        return self.seconds + self.seconds_per_mb * size / 1_000_000


def parser_id(suffix: str) -> str:
    """Name and version of the parser that reads files of this suffix."""
    return f"{_PARSERS.get(suffix, 'none')}/{PARSER_VERSION}"


def parse(file: ManualFile, product: str = "", ocr: str = "") -> ParsedManual:
    """Parse in this process; scanned pages are read in the languages `ocr` ("eng+deu"), or left out.

    Raises UserError when the file is empty, damaged, protected or not what its name says.
    """
    if file.suffix not in _PARSERS:
        raise UserError(f"{file.source}: not a kind of file that can be read. Expected one of: {', '.join(_PARSERS)}.")
    data = file.read()
    if not data.strip():
        raise UserError(f"{file.source}: the file is empty.")
    module = importlib.import_module(f"rag.parse_{_PARSERS[file.suffix]}")
    reading: Reading = module.read(data, file.source, *([ocr] if file.suffix == ".pdf" else []))
    sections = build_sections(promote_codes(split_wide_tables(reading.blocks)))
    warnings = reading.warnings
    if file.suffix in _TEXT_SUFFIXES and (guessed := encoding_warning(data, file.source)):
        warnings = (*warnings, guessed)
    if not sections and file.suffix in _SITE_SUFFIXES:
        warnings = (*warnings, "holds no text of its own")
    elif not sections:
        scan = file.suffix == ".pdf" and not ocr
        cure = "If it is a scan, add: --set index.ocr=eng" if scan else "Check that it is the right file."
        raise UserError(f"{file.source}: no text found. {cure}")
    title = reading.title or title_from_source(file.source)
    document = Document(
        doc_id=file.doc_id,
        title=title,
        product=product or reading.product or title,
        source=file.source,
        pages=reading.pages,
        sha256=hashlib.sha256(data).hexdigest(),
        parser=parser_id(file.suffix),
        warnings=warnings,
    )
    return ParsedManual(document, sections)


def parse_isolated(file: ManualFile, product: str = "", limits: ParseLimits = ParseLimits(), ocr: str = "") -> ParsedManual:
    """Parse in a child process under `limits`. Raises UserError on any failure, a crash or time-out included."""
    ((_, result),) = parse_batch([file], product, limits, ocr)
    if isinstance(result, UserError):
        raise result
    return result


def parse_batch(
    files: Sequence[ManualFile], product: str = "", limits: ParseLimits = ParseLimits(), ocr: str = ""
) -> Generator[tuple[ManualFile, ParsedManual | UserError], None, None]:
    """Each file with its manual or its error, in order; many files share one child, as starting it costs more than a small file.

    Where the child dies, its file is tried once more alone, as the files before it may have used up the memory. A file that
    takes too long is given up at once.
    """
    waiting = list(files)
    while waiting:
        done = 0
        for file, result in _run_child(waiting, product, limits, ocr):
            if isinstance(result, _ChildDied):
                again = done > 0 and not result.timed_out
                alone = next(_run_child([file], product, limits, ocr))[1] if again else result
                result = UserError(str(alone)) if isinstance(alone, _ChildDied) else alone
            done += 1
            yield file, result
        waiting = waiting[done:]


class _ChildDied(UserError):
    """The child ended without an answer for the file it was parsing."""

    timed_out = False


def _run_child(
    files: Sequence[ManualFile], product: str, limits: ParseLimits, ocr: str
) -> Iterator[tuple[ManualFile, ParsedManual | UserError]]:
    """Answers of one child, file by file; the last one is _ChildDied when it ended early."""
    request = {
        "files": [{"path": str(f.path.resolve()), "source": f.source, "member": f.member} for f in files],
        "product": product,
        "memory_mb": limits.memory_mb,
        "ocr": ocr,
    }
    root = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)}
    child = subprocess.Popen(
        [sys.executable, "-m", "rag.manuals"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        encoding="utf-8",
    )
    assert child.stdin is not None and child.stdout is not None  # for mypy: both are pipes
    try:
        with suppress(BrokenPipeError):  # it died at once; the missing answer tells
            child.stdin.write(json.dumps(request))
            child.stdin.close()
        for file in files:
            line, timed_out = _read_line(child, limits.seconds_for(file))
            if not line.endswith("\n"):
                death = _ChildDied(_death_message(file, timed_out, child.wait(), limits))
                death.timed_out = timed_out
                yield file, death
                return
            answer = json.loads(line)
            yield file, UserError(answer["error"]) if "error" in answer else from_json(ParsedManual, answer)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _read_line(child: subprocess.Popen[str], seconds: float) -> tuple[str, bool]:
    """The child's next line, and whether it was killed for taking longer than `seconds`."""
    expired = threading.Event()

    def end() -> None:
        expired.set()
        child.kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        return child.stdout.readline(), expired.is_set()  # type: ignore[union-attr]
    finally:
        timer.cancel()


def _death_message(file: ManualFile, timed_out: bool, code: int, limits: ParseLimits) -> str:
    if timed_out:
        return f"{file.source}: not parsed within {limits.seconds_for(file):.3g} s. Split the file, or allow more time."
    return f"{file.source}: the parser crashed (exit {code}, {limits.memory_mb} MB allowed). Save the file anew, or split it."


def _serve_requests() -> None:
    """The child's side: limits first, then one JSON line per file on what was stdout (libraries may print there)."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    _limit_memory(request["memory_mb"])
    for entry in request["files"]:
        file = ManualFile(Path(entry["path"]), entry["source"], entry["member"])
        answers.write(_answer(file, request["product"], request["ocr"]) + "\n")
        answers.flush()


def _answer(file: ManualFile, product: str, ocr: str) -> str:
    try:
        found: dict[str, Any] = asdict(parse(file, product, ocr))
    except UserError as error:
        found = {"error": str(error)}
    except MemoryError:
        found = {"error": f"{file.source}: needs more memory than a parser may take. Split it into parts."}
    except Exception as error:  # noqa: BLE001 - a damaged file may raise anything inside a parsing library
        found = {"error": f"{file.source}: cannot be parsed ({type(error).__name__}: {error}). Save it anew."}
    return json.dumps(found).replace("\n", " ")


def _limit_memory(megabytes: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows; the time limit still holds there
        return
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


if __name__ == "__main__":
    _serve_requests()
