"""What the report's template shows: numbers turned to text, each with its n and interval, and the plots."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from emendo.records import AdapterCard
from eval.evaluation import ArmResult, Estimate, Evaluation, TableRow
from eval.flips import Flip, find_flips, refusals
from eval.gate import adjusted_drops, p_text
from eval.intervals import Interval, wilson
from eval.method import changed, detectable_gain, level, method, software
from eval.metrics import METRIC, Metric
from eval.power import detectable
from eval.report_plots import ForestLine, curves, distribution, forest
from eval.stats import Comparison

_FLIPS_SHOWN = 40  # of each kind; all are in report.json
_RETRIEVAL = ("hit@1", "hit@5", "recall@5", "mrr@10", "ndcg@10", "page_hit@5")


def view(evaluation: Evaluation) -> dict[str, Any]:
    """All that the template needs."""
    flips = find_flips(evaluation)
    fixed, broken = [f for f in flips if f.change > 0], [f for f in flips if f.change < 0]
    rag_rows = [row for row in evaluation.rows if row.rag]
    return {
        "gate": evaluation.gate,
        "before": evaluation.before,
        "after": evaluation.after,
        "primary": METRIC[evaluation.policy.primary].label,
        "changed": changed(evaluation.primary),
        "tables": [
            ("With retrieved passages", [_row(row) for row in rag_rows if row.metric.group != "retrieval"]),
            ("The model alone, without passages", _scored(row for row in evaluation.rows if not row.rag)),
        ],
        "own_tables": evaluation.tables,
        "categories": _categories(evaluation.slices),
        "forest": forest([_forest_line(row) for row in rag_rows if _in_forest(row)]),
        "fixed": [_flip(flip) for flip in fixed[:_FLIPS_SHOWN]],
        "broken": [_flip(flip) for flip in broken[:_FLIPS_SHOWN]],
        "counts": {"fixed": len(fixed), "broken": len(broken)},
        "refusals": [_refusals(key, evaluation, arm) for key, arm in sorted(evaluation.arms.items(), key=_with_passages_first)],
        "retrieval": _scored(row for row in rag_rows if row.metric.name in _RETRIEVAL),
        "training": _training(evaluation),
        "loss_plot": _loss_plot(evaluation),
        "latency": _latency(evaluation),
        "latency_plot": _latency_plot(evaluation),
        "method": method(evaluation),
        "power_plot": _power_plot(evaluation),
        "leaks": evaluation.leaks,
        "manifest": _manifest(evaluation),
    }


def number(value: float, metric: Metric, signed: bool = False) -> str:
    """A value in the metric's own unit: shares in per cent (differences in points), else three significant figures."""
    if not math.isfinite(value):
        return "–"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if metric.share else f"{value:{sign}.3g}"


def span(interval: Interval, metric: Metric, signed: bool = False) -> str:
    if interval.low == interval.high or not math.isfinite(interval.high - interval.low):
        return "no interval"
    return f"[{number(interval.low, metric, signed)}, {number(interval.high, metric, signed)}]"


def mark_numbers(text: str, stray: Sequence[str]) -> Markup:
    """The text, escaped, with the given numbers marked."""
    if not stray:
        return escape(text)
    pattern = re.compile("|".join(rf"(?<![\d.]){re.escape(item)}(?![\d])" for item in sorted(stray, key=len, reverse=True)))
    parts, start = [], 0
    for match in pattern.finditer(text):
        parts += [escape(text[start : match.start()]), Markup("<mark>{}</mark>").format(match.group())]
        start = match.end()
    return Markup("").join([*parts, escape(text[start:])])


def _row(row: TableRow) -> dict[str, Any]:
    c, metric = row.comparison, row.metric
    shown: dict[str, Any] = {"label": metric.label, "group": metric.group, "unscored": row.unscored, "reason": row.reason}
    if c is None or row.before is None or row.after is None:
        return shown | {"n": 0}
    up, down = c.interval.low > 0, c.interval.high < 0  # as the forest plot colours it
    better, worse = (up, down) if c.higher_is_better else (down, up)
    return shown | {
        "unit": "%" if metric.share else metric.unit,
        "before": _estimate(row.before, metric),
        "after": _estimate(row.after, metric),
        "difference": f"{number(c.difference, metric, signed=True)}",
        "interval": span(c.interval, metric, signed=True),
        # Of a neutral metric nothing is better, and a batch's questions share their time: no test of these would mean anything.
        "p": "" if metric.neutral or metric.group == "cost" else p_text(c.p),
        "p_exact": p_text(c.p_exact) if c.p_exact is not None else "",
        "test": c.test,
        "method": c.interval.method,
        "kind": "open" if metric.neutral else "good" if better else "bad" if worse else "open",
        **_counts(c),
    }


def _scored(rows: Any) -> list[dict[str, Any]]:
    """Rows that have something to show: a metric that no answer of the arm could have is left out."""
    return [_row(row) for row in rows if row.comparison is not None]


def _estimate(estimate: Estimate, metric: Metric) -> dict[str, str]:
    return {"value": number(estimate.value, metric), "interval": span(estimate.interval, metric)}


def _categories(slices: Mapping[str, Comparison]) -> list[dict[str, Any]]:
    """The categories, what fell most clearly first."""
    metric = METRIC["fact_recall"]  # any share
    adjusted = adjusted_drops(slices)
    return [
        {
            "name": name,
            "before": number(c.before, metric),
            "after": number(c.after, metric),
            "difference": number(c.difference, metric, signed=True),
            "interval": span(c.interval, metric, signed=True),
            "p_worse": p_text(c.p_worse),
            "adjusted": p_text(adjusted[name]),
            **_counts(c),
        }
        for name, c in sorted(slices.items(), key=lambda item: (item[1].p_worse, item[0]))
    ]


def _counts(c: Comparison) -> dict[str, int]:
    return {"n": c.n, "clusters": c.clusters, "improved": c.improved, "worsened": c.worsened}


def _in_forest(row: TableRow) -> bool:
    return row.comparison is not None and row.metric.share and not row.metric.neutral and row.metric.group != "retrieval"


def _forest_line(row: TableRow) -> ForestLine:
    c = row.comparison
    assert c is not None  # _in_forest lets no other row in
    ends = (100 * c.difference, 100 * c.interval.low, 100 * c.interval.high)
    label = row.metric.label.split(" (")[0]
    return ForestLine(label, *ends, 1 if c.higher_is_better else -1, f"{ends[0]:+.1f}, n = {c.n}")


def _flip(flip: Flip) -> dict[str, Any]:
    question = flip.question
    return {
        "id": question.id,
        "question": question.question,
        "category": question.category,
        "gold": question.answer or ("The manual does not say." if not question.answerable else ""),
        "facts": question.facts,
        "sides": [
            {
                "text": mark_numbers(side.text, side.stray),
                "score": f"{100 * side.value:.0f} %",
                "evidence": side.evidence,
                "passages": side.passages,
            }
            for side in (flip.before, flip.after)
        ],
    }


def _refusals(key: str, evaluation: Evaluation, arm: ArmResult) -> dict[str, Any]:
    counts = refusals(evaluation.questions, arm)
    metric = METRIC["coverage"]  # any share
    shares = {}
    for name, (value, interval) in {"precision": counts.precision, "recall": counts.recall}.items():
        shares[name] = "undefined" if value is None else f"{number(value, metric)} % {span(interval, metric)}"
    return {"arm": key, "counts": counts, **shares}


def _with_passages_first(arm: tuple[str, ArmResult]) -> tuple[bool, str]:
    return not arm[0].endswith("-rag"), arm[0]


def _training(evaluation: Evaluation) -> list[tuple[str, str]]:
    card = evaluation.training
    if card is None:
        return []
    facts = [
        ("adapter", card.adapter_id),
        ("made", card.at),
        ("base model", f"{card.base_model}, sha256 {card.base_sha256[:12]}"),
        ("examples", f"{len(card.example_hashes)} from {len(card.correction_ids)} corrections in {len(card.clusters)} sections"),
        ("time", f"{card.seconds:.0f} s"),
    ]
    unit = _loss_unit(card)
    for name, value in card.losses.items():
        facts.append(
            (f"loss, {name.replace('_', ' ')}", f"{value:.3f} {'nats per token' if name.startswith('general') else unit}")
        )
    if {"train_last", "validation_best"} <= set(card.losses):
        gap = card.losses["validation_best"] - card.losses["train_last"]
        facts.append(("loss gap, validation − training", f"{gap:+.3f} {unit}{_unlike(card)}"))
    for key, found in evaluation.regurgitation.items():
        share = wilson(len(found.repeated), found.answers)
        text = f"{len(found.repeated)} of {found.answers} answers, {span(share, METRIC['coverage'])} %"
        facts.append((f"training text repeated that no passage holds, {key}", text))
    return facts


def _unlike(card: AdapterCard) -> str:
    """What the training loss holds and the validation loss does not."""
    replayed = float(card.settings.get("replay") or 0) + float(card.settings.get("replay_text") or 0)
    parts = ["dropout"] * bool(card.settings.get("dropout")) + [f"{replayed:.0%} replayed rows"] * bool(replayed)
    return f" (training counts {' and '.join(parts)}, validation does not)" if parts else ""


def _loss_unit(card: AdapterCard) -> str:
    return "nats per answer, on its choices" if card.settings.get("loss") == "choices" else "nats per token"


def _loss_plot(evaluation: Evaluation) -> Markup:
    series = {
        name: [(float(row["step"]), float(row[key])) for row in evaluation.losses if key in row and "step" in row]
        for name, key in (("training", "loss"), ("validation", "eval_loss"))
    }
    unit = _loss_unit(evaluation.training) if evaluation.training else "nats"
    return curves(series, "step", unit, "Loss by training step")


def _latencies(arm: ArmResult) -> list[float]:
    return [score.value for score in arm.scores["latency"].values() if score.value is not None]


def _latency(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for key, arm in evaluation.arms.items():
        if timed := _latencies(arm):
            p50, p95 = np.quantile(timed, [0.5, 0.95])
            rows.append({"arm": key, "n": len(timed), "p50": f"{p50:.3f}", "p95": f"{p95:.3f}", "total": f"{sum(timed):.1f}"})
    return rows


def _latency_plot(evaluation: Evaluation) -> Markup:
    series = {key: distribution(timed) for key, arm in evaluation.arms.items() if len(timed := _latencies(arm)) > 1}
    return curves(series, "seconds per answer", "share answered", "Distribution of the time per answer", "{:.0%}".format)


def _power_plot(evaluation: Evaluation) -> Markup:
    c = evaluation.primary
    if c is None or detectable_gain(evaluation) is None:
        return Markup("")
    sizes = sorted({20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, c.n} - {0, 1})
    found = [(float(n), detectable(c, level(evaluation), n)) for n in sizes]
    series = {"80 % power": [(n, 100 * gain) for n, gain in found if gain is not None]}
    return curves(series, "questions", "points", "Smallest gain found by number of questions")


def _manifest(evaluation: Evaluation) -> list[tuple[str, str]]:
    facts = [("command", evaluation.command)] if evaluation.command else []
    facts.append(("made with", ", ".join(f"{name} {number}" for name, number in software().items())))
    policy: Mapping[str, Any] = {**dataclasses.asdict(evaluation.policy), "sha256": evaluation.policy.sha256}
    facts.append(("policy", json.dumps(policy)))
    facts.append(("leak check", evaluation.leaks.summary if evaluation.leaks else "not run: no training data was named"))
    return facts + [(key, json.dumps(dict(arm.manifest))) for key, arm in evaluation.arms.items()]
