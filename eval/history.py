"""Earlier evaluations of a workspace: how often a question set was tried."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emendo.records import Question
from eval.questions import questions_sha256
from sft.promotion import judged_adapter, read_reports


def count_attempts(runs: Path, questions: Sequence[Question], adapter_id: str) -> int:
    """How many different adapters, this one included, were judged on these questions: each had a chance to win by luck."""
    asked = questions_sha256(questions)
    tried = {
        judged_adapter(report)
        for report in read_reports(runs).values()
        if any(manifest.get("questions_sha256") == asked for manifest in report["manifests"].values())
    }
    return len({name for name in tried if name} | {adapter_id})
