"""Drafts of test questions on the evaluation page: read, reword, accept or reject, one after the other."""

from __future__ import annotations

from typing import Any

import gradio as gr

from emendo.question_drafts import QuestionDrafts
from emendo.records import Question
from serve.auth import shown
from serve.pages import QUIET
from serve.render import escape, note_html
from serve.session import ServeContext

NONE_WAIT = (
    '<div class="empty"><b>No draft waits</b><p>Propose questions from the manuals with <code>emendo questions draft</code>, '
    "then read them here.</p></div>"
)


class DraftsSection:
    """A part of the evaluation page, for reviewers and admins."""

    def __init__(self, context: ServeContext):
        self.context = context
        self.drafts = QuestionDrafts(context.workspace.questions)
        with gr.Accordion("Test questions to accept", open=False, visible=False, elem_id="drafts") as self.section:
            self.told = gr.HTML("", elem_id="drafts-told")
            with gr.Column(visible=False) as self.desk:
                self.choice = gr.Dropdown([], label="Draft", elem_id="draft-choice")
                self.source = gr.HTML("", elem_id="draft-source")
                self.question = gr.Textbox(
                    label="Question, in a customer's words", lines=2, max_length=1000, elem_id="draft-question"
                )
                self.facts = gr.Textbox(
                    label="Facts the answer must hold, one a line (a|b: either)", lines=2, max_length=2000, elem_id="draft-facts"
                )
                self.answer = gr.Textbox(label="Answer", lines=2, max_length=4000, elem_id="draft-answer")
                with gr.Row():
                    self.reject = gr.Button("Reject", size="sm", elem_id="draft-reject")
                    self.accept = gr.Button("Accept", size="sm", variant="primary", elem_id="draft-accept")

    @property
    def outputs(self) -> list[Any]:
        return [self.section, self.told, self.desk, self.choice, self.source, self.question, self.facts, self.answer]

    def wire(self, tab: gr.Tab) -> None:
        tab.select(self.show, self.choice, self.outputs, **QUIET)
        self.choice.input(self.show, self.choice, self.outputs, **QUIET)
        self.accept.click(self.accept_one, [self.choice, self.question, self.facts, self.answer], self.outputs, **QUIET)
        self.reject.click(self.reject_one, self.choice, self.outputs, **QUIET)

    def show(self, chosen: str | None = None) -> list[Any]:
        """The chosen draft, the first one that waits where it is none of them."""
        if not self.context.user().may("reviewer"):
            return [gr.Accordion(visible=False), *[gr.skip()] * 7]
        with shown():
            waiting = {draft.id: draft for draft in self.drafts.waiting()}
            told = self._told(len(waiting))
        if not waiting:
            return [gr.Accordion(visible=True), told, gr.Column(visible=False), gr.Dropdown([], value=None), *[""] * 4]
        draft = waiting[chosen] if chosen in waiting else next(iter(waiting.values()))
        choices = [(d.question, d.id) for d in waiting.values()]
        gold = gr.Textbox("\n".join(draft.facts), visible=draft.answerable), gr.Textbox(draft.answer, visible=draft.answerable)
        where = [gr.Dropdown(choices, value=draft.id), source_html(draft), draft.question, *gold]
        return [gr.Accordion(visible=True), told, gr.Column(visible=True), *where]

    def accept_one(self, draft: str, question: str, facts: str, answer: str) -> list[Any]:
        user = self.context.user("reviewer")
        with shown():
            self.drafts.accept(draft, question, facts.splitlines(), answer, user.name)
        return self.show()

    def reject_one(self, draft: str) -> list[Any]:
        user = self.context.user("reviewer")
        with shown():
            self.drafts.reject(draft, user.name)
        return self.show()

    def _told(self, waiting: int) -> str:
        accepted, rejected = self.drafts.counts()
        if not waiting + accepted + rejected:
            return NONE_WAIT
        told = note_html(f"{waiting} to read, {accepted} accepted, {rejected} rejected")
        file = escape(str(self.drafts.accepted_file)).replace("/", "/<wbr>")
        return told + (f"<p>Evaluate on them: <code>emendo eval run --questions {file}</code></p>" if accepted else "")


def source_html(draft: Question) -> str:
    """Where the draft comes from, with the passage that answers it."""
    if not draft.answerable:
        product = f" of {escape(draft.product)}" if draft.product else ""
        return f"<p class='muted'>No manual{product} should answer this: the right answer is a refusal.</p>"
    pages = f", page {', '.join(draft.pages)}" if draft.pages else ""
    place = " · ".join(part for part in (draft.category, draft.product, draft.section) if part)
    return f"<p class='muted'>{escape(place + pages)}</p><blockquote>{escape(draft.quote)}</blockquote>"
