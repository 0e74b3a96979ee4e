"""The tune page: what a run would learn, its check and estimate, the run with its losses, and the adapters made so far."""

from __future__ import annotations

from typing import Any

import gradio as gr

from emendo.records import UserError
from rag.assemble import Opener
from serve.auth import shown
from serve.pages import QUIET
from serve.render import escape, note_html
from serve.render_learning import adapters_html, findings_html, job_html, losses_text
from serve.session import ServeContext
from serve.tune_job import Kind, TuneState
from sft.adapters import list_adapters
from sft.check import Finding, check_data
from sft.examples import ExampleSettings, build_examples
from sft.promotion import judged_adapter, read_reports
from sft.ratings import learnable

EVERY = 2  # seconds between two looks at a running job


class TunePage:
    def __init__(self, context: ServeContext):
        self.context = context
        with gr.Column(elem_classes="page", elem_id="tune-page"):
            gr.HTML(f"<h2>Tune</h2><p class='muted'>Approved corrections become an adapter of {escape(context.tuned.model)}.</p>")
            self.data = gr.HTML("", elem_id="tune-data")
            with gr.Row(elem_id="tune-actions"):
                self.check = gr.Button("Check and estimate", size="sm", elem_id="tune-check")
                self.start = gr.Button("Start tuning", size="sm", variant="primary", elem_id="tune-start")
                self.stop = gr.Button("Stop", size="sm", variant="stop", visible=False, elem_id="tune-stop")
            self.job = gr.HTML("", elem_id="tune-job")
            self.plot = gr.LinePlot(
                x="step",
                y="nats",
                color="loss",
                title="Loss",
                height=260,
                visible=False,
                buttons=[],
                elem_id="tune-plot",
            )
            with gr.Accordion("Log", open=False, visible=False) as self.log_box:
                self.log = gr.HTML("", elem_id="tune-log")
            self.history = gr.HTML("", elem_id="tune-history")
            self.timer = gr.Timer(EVERY, active=False)

    @property
    def outputs(self) -> list[Any]:
        return [*self.watched, self.data, self.history]

    @property
    def watched(self) -> list[Any]:
        """What changes while a job runs."""
        return [self.check, self.start, self.stop, self.job, self.plot, self.log_box, self.log, self.timer]

    def wire(self, tab: gr.Tab) -> None:
        tab.select(self.show, None, self.outputs, **QUIET)
        self.timer.tick(self.watch, None, self.outputs, **QUIET)
        self.check.click(lambda: self.begin("check"), None, self.outputs, **QUIET)
        self.start.click(lambda: self.begin("tune"), None, self.outputs, **QUIET)
        self.stop.click(self.halt, None, self.outputs, **QUIET)

    def show(self) -> list[Any]:
        """Everything; for users who may not review, only that they may not."""
        if not self.context.user().may("reviewer"):
            hidden = gr.Button(visible=False)
            told = note_html("Tuning is for reviewers and admins.")
            return [hidden, hidden, hidden, told, gr.skip(), gr.skip(), "", gr.Timer(active=False), "", ""]
        return [*self._watched(self.context.tuning.state()), self.data_html(), self.history_html()]

    def watch(self) -> list[Any]:
        """A look at the running job; all is shown anew once it has ended."""
        self.context.user("reviewer")
        state = self.context.tuning.state()
        return [*self._watched(state), gr.skip(), gr.skip()] if state.running else self.show()

    def begin(self, kind: Kind) -> list[Any]:
        self.context.user("admin")
        with shown():
            self.context.tuning.start(kind, self.context.tuned)
        return self.show()

    def halt(self) -> list[Any]:
        self.context.user("admin")
        with shown():
            self.context.tuning.stop()
        gr.Info("It ends after the step it is in, with a checkpoint; started again it goes on from there.", duration=5)
        return self.show()

    def data_html(self) -> str:
        """What would be learned, what of it the newest adapter has not seen, and what is wrong with it."""
        settings = Opener(self.context.workspace, self.context.tuned.overrides).settings(ExampleSettings, "examples")
        rows = learnable(self.context.store, settings.thumbs_up)
        if not rows:
            return note_html("Nothing to learn yet: correct wrong answers in the chat, then approve the corrections.")
        try:
            data = build_examples(rows, settings)
        except UserError as error:
            return note_html(f"Nothing to learn yet: {error}")
        cards = list_adapters(self.context.workspace.adapters)
        learned = set(cards[-1].correction_ids) if cards else set()
        fresh = {example.correction_id for example in data.train} - learned
        since = f"{len(fresh)} that adapter {cards[-1].adapter_id} has not learned" if cards else f"{len(fresh)}, no adapter yet"
        findings = [Finding("new corrections", "ok" if fresh else "note", since), *check_data(data, rows)]
        return findings_html([vars(finding) for finding in findings])

    def history_html(self) -> str:
        workspace = self.context.workspace
        verdicts = {judged_adapter(report): str(report["verdict"]) for report in read_reports(workspace.runs).values()}
        return "<h3>Adapters</h3>" + adapters_html(list_adapters(workspace.adapters), self.context.store.promoted(), verdicts)

    def _watched(self, state: TuneState) -> list[Any]:
        stopped_at = 0 if state.running else self.context.tuning.stopped_at()
        free, log = not state.running, losses_text(state)
        return [
            gr.Button(interactive=free),
            gr.Button(interactive=free),
            gr.Button(visible=state.running),
            job_html(state, stopped_at),
            gr.LinePlot(points(state), visible=bool(state.steps)),
            gr.Accordion(visible=bool(log)),
            f"<pre tabindex='0'>{escape(log)}</pre>",
            gr.Timer(active=state.running),
        ]


def points(state: TuneState) -> Any:
    """The losses of a run as the plot takes them."""
    import pandas

    rows = [
        {"step": row["step"], "nats": row[key], "loss": name}
        for row in state.steps
        for key, name in (("loss", "training"), ("validation_loss", "validation"))
        if key in row
    ]
    return pandas.DataFrame(rows, columns=["step", "nats", "loss"])
