"""The correction editor: the answer to mend, the passage that holds the truth, one click to submit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import gradio as gr

from emendo.records import Answer, Chunk, UserError
from serve.auth import shown
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
            self.words = gr.Textbox(
                placeholder="Not among them? Search the manuals",
                label="Search the manuals for the passage",
                show_label=False,
                container=False,
                submit_btn=True,
                max_length=200,
                elem_id="evidence-search",
            )
            self.abstain = gr.Checkbox(label="It should have refused: the manual does not say", elem_id="should-refuse")
            self.reason = gr.Radio(REASONS, value="wrong", label="What was wrong?", elem_id="reason")
            with gr.Row(elem_id="editor-actions"):
                self.cancel = gr.Button("Cancel", size="sm")
                self.submit = gr.Button("Submit correction", size="sm", variant="primary", elem_id="submit-correction")

    @property
    def outputs(self) -> list[Any]:
        filled = [self.question, self.text, self.evidence, self.words, self.abstain, self.reason]
        return [self.panel, self.sources_panel, *filled]

    def wire(self, answer_id: gr.State) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden"}
        filled = [answer_id, self.text, self.evidence, self.abstain, self.reason]
        panels = [self.panel, self.sources_panel]
        self.submit.click(self.record, filled, panels, **quiet)
        self.words.submit(self.search, [answer_id, self.words, self.evidence], self.evidence, **quiet)
        self.cancel.click(lambda: self._shown(False), None, panels, **quiet)
        self.abstain.input(lambda refused: gr.Textbox(interactive=not refused), self.abstain, self.text, **quiet)

    def open(self, answer_id: str) -> dict[Any, Any]:
        """The editor filled with the answer and its passages."""
        answer = self.context.own_answer(answer_id)
        return {
            **self._shown(True),
            self.question: f'<h3 class="asked">{escape(answer.question)}</h3>',
            self.text: gr.Textbox(value="" if answer.abstained else answer.text, interactive=True),
            self.evidence: gr.CheckboxGroup(_choices(answer), value=[]),
            self.words: "",
            self.abstain: False,
            self.reason: "over_refused" if answer.abstained else "wrong",
        }

    def search(self, answer_id: str, words: str, ticked: list[str]) -> gr.CheckboxGroup:
        """The answer's passages and, below them, what the search finds; what is ticked stays."""
        answer = self.context.own_answer(answer_id)
        listed = {hit.chunk.chunk_id for hit in answer.hits}
        found = self.context.find(words) if words.strip() else []
        with shown():
            kept = self.context.shown_passages([key for key in ticked if key not in listed], words)
        more = {chunk.chunk_id: chunk for chunk in (*kept, *found) if chunk.chunk_id not in listed}
        if words.strip() and not more:
            gr.Info("The passages above are all that the search finds.", duration=5)
        return gr.CheckboxGroup(_choices(answer, list(more.values())), value=ticked)

    def record(self, answer_id: str, text: str, evidence: list[str], abstain: bool, reason: str) -> dict[Any, Any]:
        """Store the correction for review and say its number; a slip keeps the editor open."""
        answer = self.context.own_answer(answer_id)
        reason = "should_have_refused" if abstain else reason
        try:
            chosen = [] if abstain else evidence
            listed = {hit.chunk.chunk_id for hit in answer.hits}
            found = self.context.shown_passages([key for key in chosen if key not in listed], text)
            correction = correct(answer, text, chosen, abstain, reason, self.context.user().name, found)
            number = self.context.store.add_correction(correction)
        except UserError as error:
            gr.Warning(escape(str(error)), title="Not recorded")
            return {self.panel: gr.Column(visible=True)}
        gr.Success(f"Correction {number} recorded. {_consequence(bool(evidence) or abstain)}", duration=5)
        return self._shown(False)

    def _shown(self, editing: bool) -> dict[Any, Any]:
        return {self.panel: gr.Column(visible=editing), self.sources_panel: gr.Column(visible=not editing)}


def _choices(answer: Answer, found: Sequence[Chunk] = ()) -> list[tuple[str, str]]:
    """(label, chunk_id) of the answer's passages, numbered, and of those found besides."""
    chunks = [*(hit.chunk for hit in answer.hits), *found]
    several = len({chunk.doc_id for chunk in chunks}) > 1
    numbers = [*(str(n) for n in range(1, len(answer.hits) + 1)), *(["Found"] * len(found))]
    return [(_choice(n, chunk, several), chunk.chunk_id) for n, chunk in zip(numbers, chunks, strict=True)]


def _choice(n: str, chunk: Chunk, with_title: bool) -> str:
    """`2 · Battery, p. 14: Remove the cover and …`"""
    heading = chunk.section[-1] if chunk.section else chunk.title
    name = f"{chunk.title} › {heading}" if with_title and chunk.section else heading
    where = f"{name}, {page_label(chunk.pages)}" if chunk.pages else name
    return f"{n} · {where}: {textwrap.shorten(chunk.text, 80, placeholder=' …')}"


def _consequence(evident: bool) -> str:
    if evident:
        return "It waits for review on the Corrections page."
    return "No passage was ticked, so it counts as a search miss, which tuning cannot mend."
