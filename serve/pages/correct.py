"""The correction editor: the answer to mend, the passage that holds the truth, one click to submit."""

from __future__ import annotations

import textwrap
from typing import Any

import gradio as gr

from emendo.records import Chunk, UserError
from serve.render import escape, page_label
from serve.session import ServeContext
from sft.corrections import correct

REASONS = [
    ("Wrong", "wrong"),
    ("Incomplete", "incomplete"),
    ("Wrong source", "wrong_source"),
    ("Refused, but the manual tells", "over_refused"),
    ("Style", "style"),
]


class CorrectionEditor:
    """Takes the place of the sources while a correction is written."""

    def __init__(self, context: ServeContext, sources_panel: gr.Column):
        self.context = context
        self.sources_panel = sources_panel
        with gr.Column(visible=False, elem_id="editor") as self.panel:
            self.question = gr.HTML("")
            self.text = gr.Textbox(label="Right answer", lines=6, max_lines=16, elem_id="corrected")
            self.evidence = gr.CheckboxGroup([], label="Which passage holds it?", elem_classes="list", elem_id="evidence-choice")
            self.abstain = gr.Checkbox(label="It should have refused: the manual does not say", elem_id="should-refuse")
            self.reason = gr.Radio(REASONS, value="wrong", label="What was wrong?", elem_id="reason")
            with gr.Row(elem_id="editor-actions"):
                self.cancel = gr.Button("Cancel", size="sm")
                self.submit = gr.Button("Submit correction", size="sm", variant="primary", elem_id="submit-correction")

    @property
    def outputs(self) -> list[Any]:
        return [self.panel, self.sources_panel, self.question, self.text, self.evidence, self.abstain, self.reason]

    def wire(self, answer_id: gr.State) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden"}
        filled = [answer_id, self.text, self.evidence, self.abstain, self.reason]
        panels = [self.panel, self.sources_panel]
        self.submit.click(self.record, filled, panels, **quiet)
        self.cancel.click(lambda: self._shown(False), None, panels, **quiet)
        self.abstain.input(lambda refused: gr.Textbox(interactive=not refused), self.abstain, self.text, **quiet)

    def open(self, answer_id: str) -> dict[Any, Any]:
        """The editor filled with the answer and its passages."""
        answer = self.context.own_answer(answer_id)
        several = len({hit.chunk.doc_id for hit in answer.hits}) > 1
        choices = [(_choice(n, hit.chunk, several), hit.chunk.chunk_id) for n, hit in enumerate(answer.hits, 1)]
        return {
            **self._shown(True),
            self.question: f'<h3 class="asked">{escape(answer.question)}</h3>',
            self.text: gr.Textbox(value="" if answer.abstained else answer.text, interactive=True),
            self.evidence: gr.CheckboxGroup(choices, value=[]),
            self.abstain: False,
            self.reason: "over_refused" if answer.abstained else "wrong",
        }

    def record(self, answer_id: str, text: str, evidence: list[str], abstain: bool, reason: str) -> dict[Any, Any]:
        """Store the correction for review and say its number; a slip keeps the editor open."""
        answer = self.context.own_answer(answer_id)
        reason = "should_have_refused" if abstain else reason
        try:
            correction = correct(answer, text, () if abstain else evidence, abstain, reason, self.context.user().name)
            number = self.context.store.add_correction(correction)
        except UserError as error:
            gr.Warning(escape(str(error)), title="Not recorded")
            return {self.panel: gr.Column(visible=True)}
        gr.Success(f"Correction {number} recorded. {_consequence(bool(evidence) or abstain)}")
        return self._shown(False)

    def _shown(self, editing: bool) -> dict[Any, Any]:
        return {self.panel: gr.Column(visible=editing), self.sources_panel: gr.Column(visible=not editing)}


def _choice(n: int, chunk: Chunk, with_title: bool) -> str:
    """`2 · Battery, p. 14: Remove the cover and …`"""
    heading = chunk.section[-1] if chunk.section else chunk.title
    name = f"{chunk.title} › {heading}" if with_title and chunk.section else heading
    where = f"{name}, {page_label(chunk.pages)}" if chunk.pages else name
    return f"{n} · {where}: {textwrap.shorten(chunk.text, 80, placeholder=' …')}"


def _consequence(evident: bool) -> str:
    if evident:
        return "It waits for review on the Corrections page."
    return "No passage was ticked, so it counts as a search miss, which tuning cannot mend."
