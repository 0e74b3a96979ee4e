"""Which adapter serves: promoted by the verdict of its evaluation or by a person with a reason, and rolled back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emendo.config import Workspace
from emendo.records import UserError
from emendo.store import Store
from sft.adapters import find_adapter

KEPT = "KEPT"  # the verdict of a decision to leave everything as it is


def promote(store: Store, workspace: Workspace, adapter: str, reason: str | None = None, author: str = "") -> str:
    """Let the adapter serve from now on; its id. `reason` overrules a verdict that is not PROMOTE, and is recorded.

    UserError without such a verdict: where no reason is given (None), or an empty one.
    """
    adapter_id = find_adapter(workspace.adapters, adapter).name
    verdict, report = find_verdict(workspace.runs, adapter_id)
    if verdict != "PROMOTE" and reason is None:
        why = f"its verdict is {verdict} ({report})" if verdict else "it has not been evaluated; run `emendo eval run`"
        raise UserError(f"adapter {adapter_id} is not promoted: {why}. To overrule it: --force --reason '...'")
    if verdict != "PROMOTE" and not (reason or "").strip():
        raise UserError("--force needs --reason 'why': it is recorded and shown with the promotion")
    given = reason or "" if verdict != "PROMOTE" else ""
    store.promote(adapter_id, verdict or "not evaluated", str(report or ""), given, author)
    return adapter_id


def keep(store: Store, report: str, author: str = "") -> str:
    """Record that, this evaluation seen, what serves goes on to serve; its id, "" for the base model."""
    served = store.promoted()
    store.promote(served, KEPT, report, "", author)
    return served


def roll_back(store: Store, author: str = "") -> str:
    """Let what was promoted before serve again; its id, "" for the base model. UserError where the base model serves."""
    served: list[str] = []  # what would serve after so many rollbacks, the last one now
    for row in reversed(store.promotions()):
        if row["verdict"] == "ROLLBACK":
            served = served[:-1]
        elif row["verdict"] != KEPT and served[-1:] != [row["adapter_id"]]:
            served.append(str(row["adapter_id"]))
    if not served:
        raise UserError("nothing to roll back: the base model serves")
    before = served[-2] if len(served) > 1 else ""
    store.promote(before, "ROLLBACK", author=author)
    return before


def find_verdict(runs: Path, adapter_id: str) -> tuple[str, Path | None]:
    """(verdict, report) of the adapter's latest evaluation; ("", None) where there is none."""
    for file, report in reversed(read_reports(runs).items()):
        if judged_adapter(report) == adapter_id:
            return str(report["verdict"]), file.with_name("report.html")
    return "", None


def judged_adapter(report: dict[str, Any]) -> str:
    """The adapter that an evaluation judged, "" where it judged none."""
    return str((report.get("training") or {}).get("adapter_id", ""))


def read_reports(runs: Path) -> dict[Path, dict[str, Any]]:
    """The report.json files of a workspace's evaluations and what they hold, the newest last."""
    found = {}
    for file in sorted(runs.glob("*/report.json"), key=lambda file: file.stat().st_mtime):
        try:
            found[file] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue  # damaged by something else; its evaluation can be run again
    return found
