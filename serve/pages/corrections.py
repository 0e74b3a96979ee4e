"""The corrections page: what people mended, side by side with what the bot said, to be approved, edited or rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from emendo.records import Correction
from serve.auth import shown
from serve.render_pages import correction_html
from serve.session import ServeContext
from sft.cleaning import twins
from sft.corrections import edited, read_corrections
from sft.faults import CURES, fault_of
from sft.personal import personal_data

FILTERS = [("To review", "open"), ("Approved", "approved"), ("Rejected", "rejected"), ("All", "all")]
EVERY_FAULT = "Every fault"
FLAGGED = "Personal data"
# Without a search a parse fault counts as a search miss.
FAULTS = [(EVERY_FAULT, "")] + [(fault.words, name) for name, fault in CURES.items() if name != "parse"] + [(FLAGGED, FLAGGED)]
EMPTY = (
    '<div class="empty"><b>Nothing here</b><p>Correct an answer in the chat with the thumb or “Correct this answer”. '
    "Approved corrections are what the next tuning learns from.</p></div>"
)
NONE = '<div class="empty"><b>Nothing here</b><p>No correction passes these filters.</p></div>'
EXPORT = '<a class="download" href="corrections/export" download="corrections.jsonl">Export all as JSONL</a>'


class CorrectionsPage:
    def __init__(self, context: ServeContext):
        self.context = context
        with gr.Column(elem_classes="page"):
            gr.HTML("<h2>Corrections</h2><p class='muted'>Approved ones become training examples.</p>")
            with gr.Row(elem_id="correction-filters"):
                self.status = gr.Radio(
                    FILTERS, value="open", label="Status", show_label=False, container=False, elem_id="status-filter", scale=3
                )
                self.fault = gr.Dropdown(FAULTS, value="", label="Fault", container=False, min_width=160, elem_id="fault-filter")
                self.words = gr.Textbox(
                    placeholder="Search", label="Search corrections", container=False, min_width=140, elem_id="correction-words"
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
                    with gr.Accordion("Edit", open=False, visible=False, elem_id="edit-correction") as self.editing:
                        self.text = gr.Textbox(label="Right answer", lines=4, max_lines=16, elem_id="edited-answer")
                        self.save = gr.Button("Save", size="sm", elem_id="save-edit")
            with gr.Accordion("Import and export", open=False, elem_id="exchange") as self.exchange:
                gr.HTML(EXPORT)
                self.file = gr.File(file_types=[".jsonl"], label="Corrections as JSONL", height=110)
                self.read = gr.Button("Import", size="sm", elem_id="import-corrections")

    @property
    def outputs(self) -> list[Any]:
        return [self.list, self.detail, self.verdict, self.reject, self.approve, self.editing, self.text, self.exchange]

    def wire(self, tab: gr.Tab) -> None:
        outputs, filters = self.outputs, [self.status, self.fault, self.words]
        quiet: dict[str, Any] = {"show_progress": "hidden"}
        for trigger in (tab.select, self.status.input, self.fault.input, self.words.change):
            trigger(self.show, filters, outputs, **quiet)
        self.list.input(self.choose, [self.list, *filters], outputs, **quiet)
        self.approve.click(self.approve_one, [self.list, *filters], outputs, **quiet)
        self.reject.click(self.reject_one, [self.list, *filters], outputs, **quiet)
        self.save.click(self.edit, [self.list, self.text, *filters], outputs, **quiet)
        self.read.click(self.import_file, [self.file, *filters], [self.file, *outputs], **quiet)

    def show(self, status: str, fault: str = "", words: str = "", *, number: int | None = None) -> list[Any]:
        """The list under the filters and one correction of it, the first unless `number` is there."""
        user = self.context.user()
        judging = user.may("reviewer")
        everything = self.context.corrections(user)
        rows = {n: row for n, row in everything.items() if _passes(row, status, fault, words)}
        if number not in rows:
            number = next(iter(rows), None)
        choices = [(f"{n} · {correction.question}", n) for n, correction in rows.items()]
        exchange = gr.Accordion(visible=judging)
        hidden = gr.Row(visible=False)
        if number is None:
            return [
                gr.Radio([], value=None),
                NONE if everything else EMPTY,
                hidden,
                gr.skip(),
                gr.skip(),
                gr.Accordion(visible=False),
                "",
                exchange,
            ]
        chosen = rows[number]
        alike = twins(chosen, list(everything.values()))
        detail = correction_html(
            number,
            chosen,
            fault_of(chosen, self.context.answerer.retriever),
            personal_data(chosen),
            {n: row for n, row in everything.items() if row in alike},
        )
        buttons = [gr.Button(interactive=chosen.status != "rejected"), gr.Button(interactive=chosen.status != "approved")]
        editing = gr.Accordion(visible=judging, open=False)
        return [gr.Radio(choices, value=number), detail, gr.Row(visible=judging), *buttons, editing, chosen.corrected, exchange]

    def choose(self, number: int, *filters: str) -> list[Any]:
        return self.show(*filters, number=number)

    def approve_one(self, number: int, *filters: str) -> list[Any]:
        return self._judge(number, filters, "approved")

    def reject_one(self, number: int, *filters: str) -> list[Any]:
        return self._judge(number, filters, "rejected")

    def edit(self, number: int, text: str, *filters: str) -> list[Any]:
        """Another answer for this correction; its status stays."""
        user = self.context.user("reviewer")
        with shown():
            self.context.store.edit_correction(number, edited(self.context.corrections(user)[number], text))
        gr.Info(f"Correction {number} is changed.", duration=3)
        return self.show(*filters, number=number)

    def import_file(self, file: str | None, *filters: str) -> list[Any]:
        """All rows of a JSONL file, or none and the line at fault."""
        self.context.user("reviewer")
        if not file:
            gr.Warning("Choose a JSONL file first.")
            return [gr.skip(), *self.show(*filters)]
        with shown():
            try:
                rows = read_corrections(Path(file), self.context.answerer.retriever, self.context.answerer.settings)
            finally:
                Path(file).unlink(missing_ok=True)  # nothing stays in the file cache
            before = len(self.context.store.corrections())
            self.context.store.add_corrections(rows)
        new = len(self.context.store.corrections()) - before
        gr.Info(f"{len(rows)} corrections read, {new} of them new.", duration=5)
        return [None, *self.show(*filters)]

    def _judge(self, number: int, filters: tuple[str, ...], verdict: str) -> list[Any]:
        self.context.user("reviewer")
        self.context.store.set_correction_status(number, verdict)
        gr.Info(f"Correction {number} is {verdict}.", duration=3)
        return self.show(*filters, number=number)


def _passes(correction: Correction, status: str, fault: str, words: str) -> bool:
    if status not in ("all", correction.status):
        return False
    if words.strip().lower() not in f"{correction.question} {correction.corrected} {correction.author}".lower():
        return False
    if fault == FLAGGED:
        return bool(personal_data(correction))
    return not fault or fault_of(correction).name == fault
