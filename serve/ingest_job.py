"""Indexing in a process of its own, so that the chat stays quick and a file that breaks the reader breaks nothing else.

The child writes one JSON object a line, each with the place of its file in the request: {"file", "stage", "done", "total"} while
it works, then {"file", "summary"} or {"file", "error"}.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
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
    index_directory: Path, paths: Sequence[Path], embedder_spec: str, product: str = "", ocr: str = "", writer: str = ""
) -> Iterator[tuple[Path, Progress | dict[str, Any] | UserError]]:
    """Index `paths` one after the other, scanned pages read in the languages `ocr`, contexts written by the model `writer`.

    Yields the Progress of each path and then its end: the fields of rag.ingest.IngestSummary, or the UserError of one that cannot
    be indexed. One process serves all, for its start costs more than a short manual; it ends when the iterator is closed.
    """
    files = list(map(str, paths))
    given = {"embedder": embedder_spec, "product": product, "ocr": ocr, "writer": writer}
    request = {"index": str(index_directory), "paths": files, **given}
    command = [sys.executable, "-m", "serve.ingest_job"]
    child = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdin and child.stdout
    ended = 0
    try:
        child.stdin.write(json.dumps(request))
        child.stdin.close()
        for line in child.stdout:
            report = json.loads(line)
            path = paths[report.pop("file")]
            ended += "stage" not in report
            if "stage" in report:
                yield path, Progress(**report)
            else:
                yield path, report["summary"] if "summary" in report else UserError(report["error"])
    finally:
        if ended < len(paths):
            child.kill()
        child.wait()
    for path in paths[ended:]:
        yield path, UserError(f"indexing {path.name} stopped with exit status {child.returncode}; run: emendo index {path}")


def main() -> None:
    from rag.context import ContextWriter, load_writer
    from rag.embedder import load_embedder
    from rag.ingest import ingest

    request = json.load(sys.stdin)
    directory, ocr, embedder = Path(request["index"]), request["ocr"], load_embedder(request["embedder"])
    contexts: ContextWriter | None = None
    for n, path in enumerate(request["paths"]):
        try:
            contexts = contexts or load_writer(request["writer"])
            summary = ingest(directory, Path(path), embedder, request["product"], partial(_report, n), ocr=ocr, contexts=contexts)
        except UserError as error:
            _write({"file": n, "error": str(error)})
        else:
            _write({"file": n, "summary": dataclasses.asdict(summary)})


def _report(file: int, stage: str, done: int, total: int) -> None:
    _write({"file": file, "stage": stage, "done": done, "total": total})


def _write(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
