"""The evidence panel: the passages of one answer, and the page of a passage with the passage boxed."""

from __future__ import annotations

from typing import Any

import gradio as gr

from emendo.records import Answer, UserError
from serve.page_images import page_image
from serve.pages.conversations import Update
from serve.render import note_html, page_html, sources_html
from serve.session import ServeContext

CHOOSE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-hit]');
  if (button) trigger('click', { hit: Number(button.dataset.hit), page: Number(button.dataset.page || 0) });
});
"""


class SourcesPanel:
    """Shows one answer's sources; `answer_id` is the only state."""

    def __init__(self, context: ServeContext):
        self.context = context
        self.answer_id = gr.State("")
        with gr.Column(elem_id="sources-panel") as self.panel:
            self.correct = gr.Button("Correct this answer", size="sm", visible=False, elem_id="correct")
            self.page = gr.HTML("", js_on_load=CHOOSE, elem_id="page-view")
            self.sources = gr.HTML(sources_html(None), js_on_load=CHOOSE, elem_id="sources")

    @property
    def outputs(self) -> list[Any]:
        """The outputs of `show`."""
        return [self.panel, self.answer_id, self.correct, self.page, self.sources]

    def wire(self) -> None:
        for view in (self.sources, self.page):
            view.click(self.turn_page, self.answer_id, self.page, show_progress="hidden")

    def show(self, answer: Answer | None) -> Update:
        return {
            self.panel: gr.Column(visible=True),
            self.answer_id: answer.answer_id if answer else "",
            self.correct: gr.Button(visible=answer is not None),
            self.page: "",
            self.sources: sources_html(answer),
        }

    def turn_page(self, answer_id: str, event: gr.EventData) -> str:
        """The page asked for; page 0 is where the answer's first quote of the passage stands, hit -1 closes the view."""
        asked: dict[str, int] = event._data
        if not answer_id or asked.get("hit", -1) < 0:
            return ""
        hit, answer = asked["hit"], self.context.own_answer(answer_id)
        chunk = answer.hits[hit].chunk
        path = self.context.source_file(chunk.doc_id)
        if path is None:
            return note_html("The original file is not where it was indexed from; index it again to see its pages.")
        quotes = [citation.quote for citation in answer.citations if citation.n == hit + 1]
        try:
            drawn = page_image(path, asked.get("page", 0), chunk.boxes, quotes)
            return page_html(chunk, hit, drawn, self.context.pages_of(chunk.doc_id))
        except UserError as error:
            return note_html(str(error))
