"""Earlier evaluations of a workspace: which verdict an adapter has, and how often a question set was tried."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emendo.records import Question
from eval.questions import questions_sha256


def find_verdict(runs: Path, adapter_id: str) -> tuple[str, Path | None]:
    """(verdict, report) of the adapter's latest evaluation; ("", None) where there is none."""
    found = [(file.stat().st_mtime, report, file) for file, report in _reports(runs) if _adapter(report) == adapter_id]
    if not found:
        return "", None
    _, report, file = max(found, key=lambda item: item[0])
    return str(report["verdict"]), file.with_name("report.html")


def count_attempts(runs: Path, questions: Sequence[Question], adapter_id: str) -> int:
    """How many different adapters, this one included, were judged on these questions: each had a chance to win by luck."""
    asked = questions_sha256(questions)
    tried = {
        _adapter(report)
        for _, report in _reports(runs)
        if any(manifest.get("questions_sha256") == asked for manifest in report["manifests"].values())
    }
    return len({name for name in tried if name} | {adapter_id})


def _adapter(report: dict[str, Any]) -> str:
    return str((report.get("training") or {}).get("adapter_id", ""))


def _reports(runs: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(runs.glob("*/report.json")):
        try:
            yield file, json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue  # damaged by something else; its evaluation can be run again
