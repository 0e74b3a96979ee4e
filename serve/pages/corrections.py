"""The corrections page: what people mended, side by side with what the bot said, to be approved or rejected."""

from __future__ import annotations

from typing import Any

import gradio as gr

from serve.render_pages import correction_html
from serve.session import ServeContext

FILTERS = [("To review", "open"), ("Approved", "approved"), ("Rejected", "rejected"), ("All", "all")]
EMPTY = (
    '<div class="empty"><b>Nothing here</b><p>Correct an answer in the chat with the thumb or “Correct this answer”. '
    "Approved corrections are what the next tuning learns from.</p></div>"
)


class CorrectionsPage:
    def __init__(self, context: ServeContext):
        self.context = context
        with gr.Column(elem_classes="page"):
            gr.HTML("<h2>Corrections</h2><p class='muted'>Approved ones become training examples.</p>")
            self.status = gr.Radio(
                FILTERS, value="open", label="Status", show_label=False, container=False, elem_id="status-filter"
            )
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=260):
                    self.list = gr.Radio(
                        [], label="Corrections", show_label=False, container=False, elem_classes="list", elem_id="correction-list"
                    )
                with gr.Column(scale=5, min_width=320):
                    self.detail = gr.HTML(EMPTY, elem_id="correction-detail")
                    with gr.Row(visible=False, elem_id="verdict") as self.verdict:
                        self.reject = gr.Button("Reject", size="sm")
                        self.approve = gr.Button("Approve", size="sm", variant="primary", elem_id="approve")

    @property
    def outputs(self) -> list[Any]:
        return [self.list, self.detail, self.verdict, self.reject, self.approve]

    def wire(self, tab: gr.Tab) -> None:
        outputs = self.outputs
        quiet: dict[str, Any] = {"show_progress": "hidden"}
        for trigger in (tab.select, self.status.input):
            trigger(self.show, self.status, outputs, **quiet)
        self.list.input(self.choose, [self.list, self.status], outputs, **quiet)
        self.approve.click(self.approve_one, [self.list, self.status], outputs, **quiet)
        self.reject.click(self.reject_one, [self.list, self.status], outputs, **quiet)

    def show(self, status: str, number: int | None = None) -> list[Any]:
        """The list under a filter and one correction of it, the first unless `number` is there."""
        rows = dict(self.context.store.corrections(None if status == "all" else status))
        if number not in rows:
            number = next(iter(rows), None)
        choices = [(f"{n}  {correction.question}", n) for n, correction in rows.items()]
        if number is None:
            return [gr.Radio([], value=None), EMPTY, gr.Row(visible=False), gr.skip(), gr.skip()]
        chosen = rows[number]
        buttons = [gr.Button(interactive=chosen.status != "rejected"), gr.Button(interactive=chosen.status != "approved")]
        return [gr.Radio(choices, value=number), correction_html(number, chosen), gr.Row(visible=True), *buttons]

    def choose(self, number: int, status: str) -> list[Any]:
        return self.show(status, number)

    def approve_one(self, number: int, status: str) -> list[Any]:
        return self._judge(number, status, "approved")

    def reject_one(self, number: int, status: str) -> list[Any]:
        return self._judge(number, status, "rejected")

    def _judge(self, number: int, status: str, verdict: str) -> list[Any]:
        self.context.store.set_correction_status(number, verdict)
        gr.Info(f"Correction {number} is {verdict}.", duration=3)
        return self.show(status, number)
