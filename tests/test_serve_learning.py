"""The tune and evaluation pages, and the tuning process behind them."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from small_bot import make_context

from emendo.records import AdapterCard, Answer, UserError, to_json
from serve.pages.evaluations import EvaluationsPage
from serve.pages.tune import TunePage, points
from serve.render_learning import flips_html, job_html, report_html
from serve.session import ServeContext
from serve.tune_job import TuneJob, TuneRequest, TuneState
from sft.corrections import correct
from sft.promotion import keep, roll_back

QUESTION = "How long does the battery of the kettle last?"
HOSTILE = "<script>alert(1)</script>"
BUNDLED = TuneRequest("hf:bundled")


@pytest.fixture
def context(tmp_path: Path) -> ServeContext:
    return make_context(tmp_path / "workspace")


def add_correction(context: ServeContext) -> int:
    answer = next(piece for piece in context.answer(QUESTION, []) if isinstance(piece, Answer))
    correction = correct(answer, "It lasts 40 hours.", [answer.hits[0].chunk.chunk_id])
    return context.store.add_correction(dataclasses.replace(correction, status="approved"))


def add_adapter(context: ServeContext, name: str, verdict: str = "", at: str = "2026-01-01T00:00:00") -> None:
    """A card, and where there is a verdict a report; what the pages read, no weights."""
    losses = {"train_first": 2.0, "train_last": 0.5}
    card = AdapterCard(name, "base", "", "p", "t", {"bits": "nf4"}, ("h",), ("c",), (), losses, {}, 90.0, at)
    (context.workspace.adapters / name).mkdir(parents=True)
    (context.workspace.adapters / name / "card.json").write_text(to_json(card))
    if verdict:
        run = context.workspace.runs / f"run-{name}"
        run.mkdir(parents=True)
        (run / "report.json").write_text(json.dumps(make_report(name, verdict)))


def make_report(adapter: str, verdict: str) -> dict[str, Any]:
    interval = {"low": 0.01, "high": 0.09}
    comparison = {"before": 0.5, "after": 0.55, "difference": 0.05, "interval": interval, "p": 0.012, "n": 80}
    sides = [{"text": text, "value": value} for text, value in ((HOSTILE, 0.0), ("40 hours. [1]", 1.0))]
    return {
        "verdict": verdict,
        "reason": "fact recall +5.0 points",
        "checks": [{"name": "better", "status": "pass", "text": "fact recall +5.0 points"}],
        "metrics": [{"metric": "fact_recall", "rag": True, "comparison": comparison}],
        "flips": [{"question": {"question": QUESTION, "answer": "40 hours"}, "before": sides[0], "after": sides[1]}],
        "before": "base",
        "after": "tuned",
        "training": {"adapter_id": adapter},
        "attempts": 1,
        "method": {"hypothesis": f"H0: {HOSTILE} is not better than base."},
        "command": "emendo eval run",
    }


def page_of(kind: type, context: ServeContext) -> Any:
    with gr.Blocks(analytics_enabled=False):
        return kind(context)


@contextmanager
def held(job: TuneJob) -> Iterator[None]:
    """The job's process stands still, so that it cannot end before all of it is seen."""
    assert job._child
    os.kill(job._child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(job._child.pid, signal.SIGCONT)


def ended(job: TuneJob) -> TuneState:
    while job.state().running:
        time.sleep(0.05)
    return job.state()


def test_a_job_runs_in_its_own_process_once_and_tells_its_end(context: ServeContext) -> None:
    assert context.tuning.state() == TuneState()
    context.tuning.start("tune", BUNDLED)
    with held(context.tuning):
        with pytest.raises(UserError, match="under way already"):
            context.tuning.start("check", BUNDLED)
        restarted = TuneJob(context.workspace, context.store.location)  # what a new server sees
        pid = next(json.loads(line)["pid"] for line in (context.tuning.folder / "job.jsonl").open() if '"pid"' in line)
        command = ""
        while not command:  # a new process has none for a moment
            command = Path(f"/proc/{pid}/cmdline").read_text()
            assert restarted.state().running
    assert "serve.tune_job" in command
    assert str(context.store.location) not in command, "the address of a database may hold a password"
    state = ended(restarted)
    assert "no usable correction among 0" in state.error
    assert "no usable correction" in job_html(state, 0)


def test_a_job_that_dies_is_told_and_another_one_can_start(context: ServeContext) -> None:
    context.tuning.start("check", BUNDLED)
    with held(context.tuning):
        context.tuning.stop()
    state = ended(context.tuning)
    assert "ended before it was finished" in state.error or "no usable correction" in state.error
    with pytest.raises(UserError, match="no tuning run is under way"):
        context.tuning.stop()
    context.tuning.start("check", BUNDLED)
    ended(context.tuning)


def test_the_tune_page_tells_what_is_new_since_the_last_adapter(context: ServeContext) -> None:
    page = page_of(TunePage, context)
    assert "Nothing to learn yet" in page.data_html()
    add_correction(context)
    assert "1, no adapter yet" in page.data_html()
    add_adapter(context, "a1", "REJECT")
    assert "1 that adapter a1 has not learned" in page.data_html()
    history = page.history_html()
    assert "a1" in history
    assert "2.000 → 0.500" in history
    assert "REJECT" in history


def test_the_tune_page_counts_liked_answers_when_they_are_learned(context: ServeContext) -> None:
    answer = next(piece for piece in context.answer(QUESTION, []) if isinstance(piece, Answer))
    context.store.save_answer(answer, context.store.create_conversation())
    context.store.rate(answer.answer_id, "", 1)
    page = page_of(TunePage, context)
    assert "Nothing to learn yet" in page.data_html()
    context.tuned = dataclasses.replace(BUNDLED, overrides=("examples.thumbs_up=true",))
    assert "1, no adapter yet" in page.data_html()


def test_a_job_that_had_nothing_to_run_or_was_stopped_says_so_once() -> None:
    ended_at_once = TuneState("tune", False, "2026-01-01T00:00:00", adapter="a1")
    assert "nothing to run" in job_html(ended_at_once, 0)
    stopped = TuneState("tune", False, "2026-01-01T00:00:00", error="stopped at step 5 of 9; the same command goes on from there")
    assert job_html(stopped, 5).count("step 5") == 1
    killed = TuneState("tune", False, "2026-01-01T00:00:00", error="it ended before it was finished (Killed)")
    assert "goes on from step 5" in job_html(killed, 5)


def test_a_running_job_shows_its_losses_and_the_time_left(context: ServeContext) -> None:
    steps = tuple({"step": n, "steps": 10, "seconds": 60.0 + 10 * n, "loss": 2.0 - n / 10} for n in (1, 2))
    state = TuneState("tune", True, "2026-01-01T00:00:00", (*steps, {**steps[1], "validation_loss": 1.5}))
    assert "about 80 s left" in job_html(state, 0)
    frame = points(state)
    assert list(frame["loss"]) == ["training", "training", "training", "validation"]
    shown = page_of(TunePage, context)._watched(state)
    assert shown[2].visible, "stop"
    assert not shown[1].interactive, "start"


def test_only_a_won_evaluation_promotes_without_a_reason(context: ServeContext) -> None:
    add_adapter(context, "a1", "REJECT")
    page = page_of(EvaluationsPage, context)
    runs, _, promote, keep, back, overrule, *_ = page.show(None)
    assert runs.value == "run-a1"
    assert not promote.interactive
    assert keep.interactive
    assert not back.interactive
    assert overrule.visible
    with pytest.raises(gr.Error, match="verdict is REJECT"):
        page.promote_one("run-a1")
    with pytest.raises(gr.Error, match="say why"):
        page.promote_one("run-a1", "  ")
    assert context.store.promoted() == ""
    page.promote_one("run-a1", "Customers wait for it")
    assert context.store.promoted() == "a1"
    assert "Customers wait for it" in page.show("run-a1")[-1]


def test_promote_and_roll_back_again_and_again(context: ServeContext) -> None:
    page = page_of(EvaluationsPage, context)
    for name in ("a1", "a2"):
        add_adapter(context, name, "PROMOTE")
        assert page.show(f"run-{name}")[2].interactive
        page.promote_one(f"run-{name}")
    for before in ("a1", ""):
        page.back("run-a2")
        assert context.store.promoted() == before
    with pytest.raises(UserError, match="nothing to roll back"):
        roll_back(context.store)


def test_keeping_what_serves_is_recorded_with_who_and_is_not_rolled_back(context: ServeContext) -> None:
    page = page_of(EvaluationsPage, context)
    add_adapter(context, "a1", "INCONCLUSIVE")
    assert "KEPT" in page.keep_serving("run-a1")[-1]
    with pytest.raises(UserError, match="nothing to roll back"):
        roll_back(context.store)
    page.promote_one("run-a1", "Customers wait for it")
    add_adapter(context, "a2", "REJECT")
    context.accounts.add("ada", "admin", "ada ada ada")
    with pytest.raises(gr.Error, match="sign in again"):
        page.keep_serving("run-a2")
    keep(context.store, "run-a2", "ada")
    assert context.store.promoted() == "a1"
    context.accounts.remove("ada")
    history = page.show("run-a2")[-1]
    assert "KEPT" in history
    assert "ada" in history
    assert roll_back(context.store) == ""


def test_a_report_that_is_not_there_promotes_nothing(context: ServeContext) -> None:
    with pytest.raises(gr.Error, match="judges no adapter"):
        page_of(EvaluationsPage, context).promote_one("../elsewhere")


def test_what_models_wrote_stays_text() -> None:
    report = make_report(HOSTILE, "PROMOTE")
    for html in (report_html(report, "reports/r"), flips_html(report["flips"])):
        assert "<script" not in html
        assert "&lt;script" in html
    assert "How it was tested" in report_html(report, "reports/r")
    assert "How it was tested" not in report_html({**report, "method": {}}, "reports/r")
    assert "1 fixed, 0 broken" in flips_html(report["flips"])
