"""The report of an evaluation: one self-contained HTML page, the same as JSON, and the gate as JUnit."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from emendo.files import write_whole
from eval.evaluation import Evaluation, Table, TableRow
from eval.flips import find_flips, refusals
from eval.gate import Verdict
from eval.method import detectable_gain, level, method, software
from eval.report_view import view
from eval.stats import Comparison

_TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Report:
    """What a caller needs of a finished evaluation; everything else is in the files."""

    verdict: Verdict
    exit_code: int
    reason: str  # the verdict's, in one line
    primary: Comparison | None
    rows: tuple[TableRow, ...]
    tables: tuple[Table, ...]
    html: Path
    json: Path
    junit: Path


def write_report(evaluation: Evaluation, out_dir: Path) -> Report:
    """Write report.html, report.json and junit.xml into `out_dir`; each appears whole or not at all."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    gate = evaluation.gate
    report = Report(
        verdict=gate.verdict,
        exit_code=gate.exit_code,
        reason=gate.reason,
        primary=evaluation.primary,
        rows=evaluation.rows,
        tables=evaluation.tables,
        html=out_dir / "report.html",
        json=out_dir / "report.json",
        junit=out_dir / "junit.xml",
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    write_whole(report.html, environment.get_template(_TEMPLATE).render(view(evaluation)))
    write_whole(report.json, json.dumps(as_data(evaluation), ensure_ascii=False, indent=1, allow_nan=False))
    write_whole(report.junit, _junit(evaluation))
    return report


def as_data(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as plain JSON values; what is undefined is null, never NaN."""
    data = {
        "verdict": evaluation.gate.verdict,
        "exit_code": evaluation.gate.exit_code,
        "reason": evaluation.gate.reason,
        "checks": evaluation.gate.checks,
        "before": evaluation.before,
        "after": evaluation.after,
        "primary": {"metric": evaluation.policy.primary, "comparison": evaluation.primary},
        "metrics": [_row_data(row) for row in evaluation.rows],
        "categories": evaluation.slices,
        "flips": find_flips(evaluation),
        "refusals": {key: refusals(evaluation.questions, arm) for key, arm in evaluation.arms.items()},
        "latency": evaluation.latency,
        "leaks": evaluation.leaks,
        "attempts": evaluation.attempts,
        "method": dict(method(evaluation)),
        "power": {"alpha": level(evaluation), "power": 0.8, "detectable": detectable_gain(evaluation)},
        "policy": {**dataclasses.asdict(evaluation.policy), "sha256": evaluation.policy.sha256},
        "training": evaluation.training,
        "regurgitation": evaluation.regurgitation,
        "manifests": {key: arm.manifest for key, arm in evaluation.arms.items()},
        "command": evaluation.command,
        "software": software(),
        "tables": evaluation.tables,
        "scores": {
            key: {name: {i: s.value for i, s in by_id.items()} for name, by_id in arm.scores.items()}
            for key, arm in evaluation.arms.items()
        },
    }
    return dict(_plain(data))


def _row_data(row: TableRow) -> dict[str, Any]:
    return {
        "metric": row.metric.name,
        "rag": row.rag,
        "before": row.before,
        "after": row.after,
        "comparison": row.comparison,
        "unscored": row.unscored,
        "reason": row.reason,
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def _junit(evaluation: Evaluation) -> str:
    """Each condition of the gate as a test case, so that any CI shows it."""
    checks = evaluation.gate.checks
    failed = [check for check in checks if check.status != "pass"]
    suite = ElementTree.Element("testsuite", name="emendo eval", tests=str(len(checks)), failures=str(len(failed)))
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname="emendo.eval.gate", name=check.name)
        if check.status == "pass":
            ElementTree.SubElement(case, "system-out").text = check.text
        else:
            ElementTree.SubElement(case, "failure", type=check.status, message=check.text)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode")
