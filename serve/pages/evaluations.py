"""The evaluation page: the reports, the gate of one, what changed, and the decision which adapter serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from emendo.records import UserError
from serve.auth import shown
from serve.pages import QUIET
from serve.pages.drafts import DraftsSection
from serve.render import note_html
from serve.render_learning import EVALUATE, flips_html, promotions_html, report_html
from serve.session import ServeContext
from sft.adapters import list_adapters
from sft.promotion import judged_adapter, keep, promote, read_reports, roll_back

EMPTY = (
    '<div class="empty"><b>No evaluation yet</b><p>Compare base and tuned on held-out questions: '
    f"<code>{EVALUATE}</code></p></div>"
)


class EvaluationsPage:
    def __init__(self, context: ServeContext):
        self.context = context
        with gr.Column(elem_classes="page", elem_id="evaluations-page"):
            gr.HTML("<h2>Evaluation</h2><p class='muted'>An adapter serves when held-out questions show that it is better.</p>")
            self.runs = gr.Dropdown([], label="Report", visible=False, elem_id="report-choice")
            self.report = gr.HTML(EMPTY, elem_id="report")
            with gr.Row(elem_id="decide") as self.decide:
                self.promote = gr.Button("Promote", size="sm", variant="primary", elem_id="promote")
                self.keep = gr.Button("Keep what serves", size="sm", elem_id="keep")
                self.roll_back = gr.Button("Roll back", size="sm", elem_id="roll-back")
            with gr.Accordion("Promote against the verdict", open=False, visible=False, elem_id="overrule") as self.overrule:
                self.reason = gr.Textbox(label="Why? It is recorded with the promotion.", max_length=500, elem_id="reason-given")
                self.force = gr.Button("Promote all the same", size="sm", variant="stop", elem_id="force")
            with gr.Accordion("Answers that changed", open=False, visible=False) as self.changed:
                self.flips = gr.HTML("", elem_id="flips")
            self.history = gr.HTML("", elem_id="promotions")
            self.drafts = DraftsSection(context)

    @property
    def outputs(self) -> list[Any]:
        decision = [self.promote, self.keep, self.roll_back, self.overrule]
        return [self.runs, self.report, *decision, self.changed, self.flips, self.history]

    def wire(self, tab: gr.Tab) -> None:
        self.drafts.wire(tab)
        tab.select(self.show, self.runs, self.outputs, **QUIET)
        self.runs.input(self.show, self.runs, self.outputs, **QUIET)
        self.promote.click(self.promote_one, self.runs, self.outputs, **QUIET)
        self.force.click(self.promote_one, [self.runs, self.reason], self.outputs, **QUIET)
        self.keep.click(self.keep_serving, self.runs, self.outputs, **QUIET)
        self.roll_back.click(self.back, self.runs, self.outputs, **QUIET)

    def show(self, run: str | None) -> list[Any]:
        """The report of the run, the newest one where it is none of this workspace's."""
        if not self.context.user().may("reviewer"):
            told = note_html("Evaluations are for reviewers and admins.")
            return [gr.Dropdown(visible=False), told, *[gr.Button(visible=False)] * 3, *[gr.Accordion(visible=False)] * 2, "", ""]
        reports = {file.parent.name: report for file, report in read_reports(self.context.workspace.runs).items()}
        serving, promotions = self.context.store.promoted(), promotions_html(self.context.store.promotions())
        back = gr.Button(interactive=bool(serving))
        if not reports:
            off, folded = gr.Button(interactive=False), gr.Accordion(visible=False)
            return [gr.Dropdown([], value=None, visible=False), EMPTY, off, off, back, folded, folded, "", promotions]
        name = run if run in reports else list(reports)[-1]
        report, adapter = reports[name], judged_adapter(reports[name])
        judged = adapter in {card.adapter_id for card in list_adapters(self.context.workspace.adapters)} and adapter != serving
        won = report["verdict"] == "PROMOTE"
        choices = [(f"{key} · {judged_adapter(row) or 'no adapter'} · {row['verdict']}", key) for key, row in reports.items()]
        return [
            gr.Dropdown(choices[::-1], value=name, visible=True),
            report_html(report, f"reports/{quote(name)}"),
            gr.Button(interactive=judged and won),
            gr.Button(interactive=judged),
            back,
            gr.Accordion(visible=judged and not won),
            gr.Accordion(visible=True),
            flips_html(report["flips"]),
            f"<h3>What served</h3>{promotions}",
        ]

    def promote_one(self, run: str, reason: str | None = None) -> list[Any]:
        """Let the adapter of this report serve, by its verdict or for the reason given."""
        user = self.context.user("admin")
        report = read_reports(self.context.workspace.runs).get(Path(self.context.workspace.runs / str(run) / "report.json"), {})
        with shown():
            if not judged_adapter(report):
                raise UserError("this report judges no adapter; choose another one")
            if reason is not None and not reason.strip():
                raise UserError("say why: the reason is recorded with the promotion")
            adapter = promote(self.context.store, self.context.workspace, judged_adapter(report), reason, user.name)
            self._serve(adapter)
        return self.show(run)

    def keep_serving(self, run: str) -> list[Any]:
        """Record that the adapter of this report was seen and not taken."""
        served = keep(self.context.store, run, self.context.user("admin").name)
        gr.Info(f"Recorded: {served or 'the base model'} goes on to serve.", duration=5)
        return self.show(run)

    def back(self, run: str | None) -> list[Any]:
        user = self.context.user("admin")
        with shown():
            self._serve(roll_back(self.context.store, user.name))
        return self.show(run)

    def _serve(self, adapter: str) -> None:
        self.context.reload()
        now = self.context.answerer
        if now.adapter_id == adapter:
            gr.Info(f"{adapter or 'The base model'} answers from now on.", duration=5)
        else:
            gr.Warning(f"Recorded. {now.model_id} takes no adapters: serve the model it was tuned on, hf:bundled for one.")
