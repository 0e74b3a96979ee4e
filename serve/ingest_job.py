"""Indexing in a process of its own, so that the chat stays quick and a file that breaks the reader breaks nothing else.

The child writes one JSON object a line: {"stage", "done", "total"} while it works, then {"summary"} or {"error"}.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emendo.records import UserError

ROOT = Path(__file__).parent.parent  # `-m` finds the packages from here, installed or not


@dataclass(frozen=True)
class Progress:
    stage: str
    done: int
    total: int


def run_ingest(
    index_directory: Path, path: Path, embedder_spec: str, product: str = "", ocr: str = ""
) -> Iterator[Progress | dict[str, Any]]:
    """Index `path`, scanned pages read in the languages `ocr`: yields Progress, at last the fields of rag.ingest.IngestSummary.

    The process ends when the iterator is closed. Raises UserError with the child's message when indexing fails.
    """
    request = {"index": str(index_directory), "path": str(path), "embedder": embedder_spec, "product": product, "ocr": ocr}
    command = [sys.executable, "-m", "serve.ingest_job", json.dumps(request)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    summary: dict[str, Any] | None = None
    try:
        for line in child.stdout or ():
            report = json.loads(line)
            if "error" in report:
                raise UserError(report["error"])
            if "summary" in report:
                summary = report["summary"]
            else:
                yield Progress(**report)
    finally:
        if summary is None:
            child.kill()
        child.wait()
    if summary is None:
        raise UserError(f"indexing {path.name} stopped with exit status {child.returncode}; run: emendo index {path}")
    yield summary


def main() -> None:
    from rag.embedder import load_embedder
    from rag.ingest import ingest

    request = json.loads(sys.argv[1])
    try:
        embedder = load_embedder(request["embedder"])
        summary = ingest(Path(request["index"]), Path(request["path"]), embedder, request["product"], _report, ocr=request["ocr"])
    except UserError as error:
        _write({"error": str(error)})
    else:
        _write({"summary": dataclasses.asdict(summary)})


def _report(stage: str, done: int, total: int) -> None:
    _write({"stage": stage, "done": done, "total": total})


def _write(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
