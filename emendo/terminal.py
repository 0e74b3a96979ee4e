"""What the command line shows: progress bars, tables, an answer with its sources. Only the CLI imports this."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from emendo.records import Answer, Hit


def say(text: str = "") -> None:
    """One line of result on standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """One line about what is going on, on standard error, so that results can be piped."""
    print(text, file=sys.stderr, flush=True)


def say_json(value: Any) -> None:
    """The value as JSON on standard output; dataclasses become objects."""
    print(json.dumps(value, ensure_ascii=False, indent=1, default=_plain), flush=True)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """report(what, done, total): a bar per `what` on standard error; plain silence where it is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            key = what.partition(" (")[0]
            if key not in tasks:
                tasks[key] = bars.add_task(what, total=total)
            bars.update(tasks[key], completed=done, total=total, description=what)

        yield report


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str = "") -> None:
    """A table on standard output; the first column is left-aligned, the others right-aligned when all their cells are numbers.

    `empty` is said instead of a table without rows.
    """
    if empty and not rows:
        return say(empty)
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title or None, title_justify="left", show_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        numeric = i > 0 and all(isinstance(row[i], int | float) for row in rows)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(shown)


def show_answer(answer: Answer) -> None:
    """The text, then each cited passage with its section and page, then the passages that were looked at but not cited."""
    say(answer.text)
    show_sources(answer)


def show_sources(answer: Answer) -> None:
    cited = {citation.n: citation for citation in answer.citations}
    if cited:
        say()
    for n, citation in sorted(cited.items()):
        flag = "" if citation.supported else "  (unsupported: check it)"
        say(f"  [{n}] {place(answer.hits[n - 1])}{flag}")
    if answer.abstained and answer.hits:
        say(f"\n  nearest passage: {place(answer.hits[0])} (confidence {answer.confidence:.2f})")


def place(hit: Hit) -> str:
    """`header, p. 7` or `header, file` where the format has no pages."""
    chunk = hit.chunk
    where = f"p. {', '.join(map(str, chunk.pages))}" if chunk.pages else chunk.source
    return f"{chunk.header}, {where}"


def hit_row(hit: Hit) -> dict[str, Any]:
    """A hit as `search` and `ask` write it: pages are page numbers, or the file where the format has none."""
    chunk = hit.chunk
    return {
        "text": chunk.text,
        "pages": list(chunk.pages) or [chunk.source],
        "doc_id": chunk.doc_id,
        "also_in": list(hit.also_in),
        "section": " > ".join(chunk.section),
        "scores": {"score": hit.score, **hit.stages},
        "chunk_id": chunk.chunk_id,
    }


def answer_row(answer: Answer, row_id: str = "") -> dict[str, Any]:
    """An answer as `ask --json` and `ask --out` write it."""
    return {
        "id": row_id or answer.answer_id,
        "question": answer.question,
        "answer": answer.text,
        "citations": [dataclasses.asdict(citation) for citation in answer.citations],
        "abstained": answer.abstained,
        "confidence": answer.confidence,
        "model": answer.model_id,
        "adapter": answer.adapter_id,
        "hits": [hit_row(hit) for hit in answer.hits],
    }
