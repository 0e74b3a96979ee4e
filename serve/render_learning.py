"""Tuning and evaluations to HTML: checks, adapters, the gate, the answers that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emendo.records import AdapterCard, content_id
from serve.render import escape, facts_html, minute, note_html
from serve.render_pages import diff_html, progress_html
from serve.tune_job import TuneState

BADGES = {
    **dict.fromkeys(("ok", "pass", "PROMOTE", "NO REGRESSION"), "supported"),
    **dict.fromkeys(("fail", "invalid", "REJECT", "INVALID", "REGRESSION"), "unsupported"),
    **dict.fromkeys(("unclear", "INCONCLUSIVE"), "partly"),
}
WORDS = {"ok": "ok", "note": "note", "fail": "mend this"}
OF_THE_DATA = {"examples", "validation", "left out", "duplicates", "contradictions", "leaks"}  # shown whenever the page is
EVALUATE = "emendo eval run --questions QUESTIONS.jsonl"
SHOWN = 40  # answers that changed, shown on the page; the report has all


def badge(state: str, words: str = "") -> str:
    return f'<span class="badge {BADGES.get(state, "")}">{escape(words or state)}</span>'


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table wide" tabindex="0"><table><tr>{top}</tr>{body}</table></div>'


def findings_html(findings: Sequence[Mapping[str, str]]) -> str:
    rows = [(escape(f["name"].capitalize()), badge(f["state"], WORDS[f["state"]]), escape(f["text"])) for f in findings]
    return table_html(("Check", "", "What was found"), rows)


def job_html(state: TuneState, stopped_at: int) -> str:
    """What the latest job does or did, in one line, and what its check found."""
    name = {"check": "Check", "tune": "Tuning"}.get(state.kind, "")
    if state.running:
        last = state.steps[-1] if state.steps else {}
        done, total = int(last.get("step", 0)), int(last.get("steps", 0))
        if not total:
            return progress_html(f"{name}: reading the corrections, loading the model", 0, 0)
        return progress_html(f"Tuning{_left(state.steps)}: step", done, total)
    if state.error:
        kept = stopped_at and "goes on" not in state.error  # a run that was asked to stop says so itself
        more = f" With the same corrections and settings it goes on from step {stopped_at}." if kept else ""
        return note_html(f"{name} of {_day(state.at)}: {state.error}.{more}")
    if state.adapter and not state.steps:
        return note_html(
            f"Adapter {state.adapter} has learned the same corrections with the same settings: there is nothing to run."
        )
    if state.adapter:
        return note_html(f"Tuning of {_day(state.at)} made adapter {state.adapter}. Evaluate it before it serves: {EVALUATE}")
    if state.findings:
        return f"<h3>Check of {_day(state.at)}</h3>" + findings_html([f for f in state.findings if f["name"] not in OF_THE_DATA])
    return ""


def _left(steps: Sequence[Mapping[str, float]]) -> str:
    """ ", about 3 min left", from the pace since the first step; the time before it went into loading the model."""
    first, last = steps[0], steps[-1]
    done = last["step"] - first["step"]
    pace = (last["seconds"] - first["seconds"]) / done if done else 0
    return f", about {_minutes((last['steps'] - last['step']) * pace)} left" if done else ""


def losses_text(state: TuneState) -> str:
    """The log of a run, a line for each step that told a loss."""
    return "\n".join(
        f"step {int(row['step']):>5} of {int(row['steps'])}  {row['seconds']:>7.0f} s  "
        + ", ".join(f"{key.replace('_', ' ')} {row[key]:.3f}" for key in row if key not in ("step", "steps", "seconds"))
        for row in state.steps
    )


def adapters_html(cards: Sequence[AdapterCard], promoted: str, verdicts: Mapping[str, str]) -> str:
    """The adapters, the newest first, each with the hash of the data it learned."""
    if not cards:
        return '<div class="empty"><b>No adapter yet</b><p>Approve corrections, check them, then start tuning.</p></div>'
    rows = []
    for card in reversed(cards):
        loss, verdict = card.losses, verdicts.get(card.adapter_id, "")
        serves = f" {badge('ok', 'serves')}" if card.adapter_id == promoted else ""
        best = f"{loss['validation_best']:.3f}" if "validation_best" in loss else "–"
        rows.append(
            (
                f"<b>{escape(card.adapter_id)}</b>{serves}<br><span class='muted'>{_day(card.at)}</span>",
                f"{len(card.correction_ids)}<br><span class='muted'>data {content_id(*card.example_hashes, length=8)}</span>",
                f"{loss.get('train_first', 0):.3f} → {loss.get('train_last', 0):.3f}",
                best,
                _minutes(card.seconds),
                badge(verdict) if verdict else "<span class='muted'>not evaluated</span>",
            )
        )
    return table_html(("Adapter", "Corrections", "Loss", "Validation", "Took", "Verdict"), rows)


def report_html(report: Mapping[str, Any], link: str) -> str:
    """Verdict, gate and metrics of one evaluation."""
    rows = [(escape(c["name"].capitalize()), badge(c["status"]), escape(c["text"])) for c in report["checks"]]
    verdict = f"<p class='verdict'>{badge(report['verdict'])} {escape(report['reason'])}</p>"
    whole = f'<p><a href="{escape(link)}" target="_blank" rel="noopener">The whole report</a></p>'
    learned = report.get("training") or {}
    facts = [("Adapter", str(learned.get("adapter_id", "none"))), ("Command", str(report["command"]))]
    facts.append(("Attempts on these questions", str(report["attempts"])))
    gate = table_html(("Condition", "", "What was measured"), rows)
    metrics = f"<details><summary>All metrics before and after</summary>{_metrics_html(report)}</details>"
    how = [(heading.capitalize(), told) for heading, told in report.get("method", {}).items()]  # older reports have none
    tested = f"<details><summary>How it was tested</summary>{facts_html(how)}</details>" if how else ""
    return f"{verdict}{gate}{metrics}{tested}{facts_html(facts)}{whole}"


def _metrics_html(report: Mapping[str, Any]) -> str:
    rows = []
    for row in report["metrics"]:
        c = row["comparison"]
        if not row["rag"] or not c:
            continue
        low, high = c["interval"]["low"], c["interval"]["high"]
        span = "" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
        name = escape(row["metric"].replace("_", " ").capitalize())
        rows.append(
            (name, f"{c['before']:.3f}", f"{c['after']:.3f}", f"{c['difference']:+.3f}", span, f"{c['p']:.2g}", str(c["n"]))
        )
    return table_html(("Metric", str(report["before"]), str(report["after"]), "Difference", "95 % interval", "p", "n"), rows)


def flips_html(flips: Sequence[Mapping[str, Any]]) -> str:
    """The answers that changed for the better or the worse, both side by side."""
    if not flips:
        return note_html("No answer changed.")
    better = sum(flip["after"]["value"] > flip["before"]["value"] for flip in flips)
    more = f"; the first {SHOWN} are shown" if len(flips) > SHOWN else ""
    return note_html(f"{better} fixed, {len(flips) - better} broken{more}") + "".join(map(_flip_html, flips[:SHOWN]))


def _flip_html(flip: Mapping[str, Any]) -> str:
    before, after = flip["before"], flip["after"]
    old, new = diff_html(before["text"], after["text"])
    gained = after["value"] > before["value"]
    state = badge("pass" if gained else "fail", "fixed" if gained else "broken")
    gold = flip["question"]["answer"] or "The manual does not say."
    return (
        f"<details class='flip'><summary>{state} {escape(flip['question']['question'])}</summary>"
        f'<div class="sides"><section><h4>Before ({before["value"]:.2f})</h4><div class="side">{old}</div></section>'
        f'<section><h4>After ({after["value"]:.2f})</h4><div class="side">{new}</div></section></div>'
        f"<p class='muted'>Right: {escape(gold)}</p></details>"
    )


def promotions_html(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return note_html("Nothing was decided yet: the base model serves.")
    cells = [
        (
            _day(row["at"]),
            escape(row["adapter_id"] or "base model"),
            badge(row["verdict"]),
            escape(row["author"]) or "–",
            escape(row["forced_reason"]),
        )
        for row in rows
    ]
    return table_html(("When", "Serves", "Verdict", "Decided by", "Reason given"), cells)


def _day(at: str) -> str:
    return escape(minute(at))


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
