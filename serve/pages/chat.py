"""The chat page: conversations at the left, the conversation in the middle, sources or the correction editor at the right."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from emendo.records import Answer, UserError
from serve.auth import shown
from serve.examples import example_questions
from serve.pages import QUIET
from serve.pages.conversations import ConversationList, Update
from serve.pages.correct import CorrectionEditor
from serve.pages.models import SERVING, ModelPicker
from serve.pages.sources import SourcesPanel
from serve.queue import Waiting
from serve.recording import Recording, drop_question, keep_stopped, readable
from serve.render import answer_html, escape, partial_html
from serve.session import ServeContext
from serve.turns import SIDES, bot_message, grouped, messages, model_name, placed, question_message

ALL_PRODUCTS = "All manuals"
REDRAW = 0.05  # seconds between two redraws of an answer being written
SHOW_EDITOR = "() => document.getElementById('editor').scrollIntoView({ block: 'nearest', behavior: 'smooth' })"


class ChatPage:
    """Layout and handlers of the chat. What a browser holds are ids; every turn is read from the database."""

    def __init__(self, context: ServeContext):
        self.context = context
        self.conversation_id = gr.State("")
        self.asked = gr.State("")  # the question being answered, given back when nothing of its answer was written
        self.answering = gr.State("")  # answer_id under which it is kept
        self.written = gr.State("")  # what is written of its answer, kept when it is stopped
        with gr.Row(elem_id="chat-page", equal_height=False):
            with gr.Column(scale=2, min_width=210, elem_id="conversations"):
                self.conversations = ConversationList(context)
            with gr.Column(scale=6, min_width=320, elem_id="dialogue"):
                self._lay_out_dialogue()
            with gr.Column(scale=4, min_width=300, elem_id="evidence"):
                self.evidence = SourcesPanel(context)
                self.editor = CorrectionEditor(context, self.evidence.panel)
        self.opened = [self.chat, self.conversation_id, *self.conversations.outputs, *self.evidence.outputs, self.editor.panel]

    def _lay_out_dialogue(self) -> None:
        with gr.Row(elem_id="scope"):
            self.product = gr.Dropdown(
                [ALL_PRODUCTS], value=ALL_PRODUCTS, label="Product", show_label=False, container=False, min_width=160
            )
            self.models = ModelPicker(self.context)
            self.model = gr.HTML(self.model_html(), elem_id="model-label")
        with gr.Column(visible=False, scale=0, elem_id="guide") as self.guide:
            gr.HTML(GUIDE)
            self.add = gr.Button("Add a manual", variant="primary", size="sm", elem_id="add-first")
        self.chat = gr.Chatbot(
            [],
            show_label=False,
            container=False,
            height="100%",
            layout="bubble",
            elem_id="chat",
            buttons=[],
            feedback_options=("Like", "Dislike"),
            group_consecutive_messages=False,
            editable="user",
            latex_delimiters=[],
            sanitize_html=True,
            allow_tags=False,
            allow_file_downloads=False,
            placeholder=WELCOME,
        )
        self.question = gr.Textbox(
            placeholder="Ask about your manuals",
            label="Question",
            show_label=False,
            container=False,
            lines=1,
            max_lines=6,
            submit_btn=True,
            autofocus=True,
            elem_id="question",
        )

    @property
    def greeted(self) -> list[Any]:
        """The outputs of `greet`."""
        return [self.conversations.list, self.product, self.chat, self.model, self.guide, self.question, self.models.box]

    def wire(self, app: gr.Blocks, tab: gr.Tab) -> None:
        """Connect the handlers; called once all pages are laid out."""
        self._wire_asking()
        self.conversations.wire(self.conversation_id, self.open, self.opened)
        self.evidence.wire()
        self.editor.wire(self.evidence.answer_id)
        self.chat.select(self.choose_answer, self.conversation_id, self.opened, **QUIET)
        editing = list(dict.fromkeys([*self.opened, *self.editor.outputs]))
        rated = self.chat.like(self.rate, self.conversation_id, editing, **QUIET)
        begun = self.evidence.correct.click(self.editor.open, self.evidence.answer_id, self.editor.outputs, **QUIET)
        for event in (rated, begun):
            event.then(None, js=SHOW_EDITOR)
        app.load(self.greet, None, self.greeted, **QUIET)
        tab.select(self.models.choices, self.models.box, self.models.box, **QUIET)  # another page may have promoted one

    def _wire_asking(self) -> None:
        """All ways to ask share one queue for the model; a stop or a failure gives the question back."""
        outputs = [*self.opened, self.question, self.asked, self.answering, self.written]
        how = [self.conversation_id, self.product, self.models.box]
        queue: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None, **QUIET}  # serve.queue has the line
        asking = [
            self.question.submit(self.ask, [self.question, *how], outputs, **queue),
            self.chat.example_select(self.ask_example, how, outputs, **queue),
            self.chat.retry(self.retry, how, outputs, **queue),
            self.chat.edit(self.edit, how, outputs, **queue),
        ]
        stopped = [self.conversation_id, self.asked, self.answering, self.written]
        self.question.stop(self.stop, stopped, outputs, cancels=[*asking], **QUIET)
        self.chat.undo(self.undo, self.conversation_id, outputs, **QUIET)
        for event in asking:
            event.failure(self.give_back, [self.conversation_id, self.asked], outputs, **QUIET)

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, question: str, conversation_id: str, product: str, model: str = SERVING) -> Iterator[Update]:
        """Stream the answer; the question is kept from the moment it is asked (serve.recording)."""
        if question := readable(question):
            yield from self._answer(question, conversation_id, self._turns(conversation_id), product, model)
        else:
            yield {self.question: gr.Textbox(value="", placeholder="Type a question first")}

    def ask_example(self, conversation_id: str, product: str, model: str, event: gr.SelectData) -> Iterator[Update]:
        yield from self.ask(event.value["text"], conversation_id, product, model)

    def retry(self, conversation_id: str, product: str, model: str = SERVING) -> Iterator[Update]:
        """Ask the last question again; its old answer goes when the new one is there."""
        turns = self._turns(conversation_id)
        last = grouped(turns)[-1]
        yield from self._answer(last[0].question, conversation_id, turns[: -len(last)], product, model, last)

    def edit(self, conversation_id: str, product: str, model: str, event: gr.EditData) -> Iterator[Update]:
        """Ask a question of one's own in other words; its old answer and what followed go when the new one is there."""
        turns, old = self._turns(conversation_id), self._turn_at(conversation_id, event.index)
        first = turns.index(old)
        question = html.unescape(str(event.value)).strip()
        if question in ("", old.question):
            yield self.open(conversation_id)
        else:
            yield from self._answer(question, conversation_id, turns[:first], product, model, turns[first:])

    def undo(self, conversation_id: str) -> Update:
        """Take the last question and its answer back; the question stands in the box to be changed and asked again."""
        *_, last = grouped(self._turns(conversation_id))
        for answer in last:
            conversation_id = drop_question(self.context.store, conversation_id, answer.answer_id)
        return {**self.open(conversation_id), self.question: _ready(last[0].question)}

    def _answer(
        self, question: str, conversation_id: str, turns: Sequence[Answer], product: str, model: str, old: Sequence[Answer] = ()
    ) -> Iterator[Update]:
        """The answer, or two side by side, in the place of the `old` ones."""
        with shown():
            adapters = self.models.chosen(model)
        before = [*messages(turns), question_message(question)]
        # In every update: Gradio's page drops what the next one leaves out when two come at once.
        busy: Update = {self.question: gr.Textbox(value="", submit_btn=False, stop_btn=True)}
        yield {self.chat: _under_way(before), self.asked: question, self.answering: "", self.written: "", **busy}
        user, first = self.context.user().name, ""
        for side, adapter in zip(SIDES if len(adapters) > 1 else ("",), adapters, strict=True):
            name = model_name(adapter or "")
            with Recording(self.context.store, question, conversation_id, user, first, adapter or "") as record:
                conversation_id, first = record.conversation_id, first or record.answer_id
                ids = {self.conversation_id: conversation_id, self.answering: record.answer_id, self.written: ""}
                yield {self.chat: _under_way(before, "", side, name), **ids, **busy}
                busy = {self.question: gr.Textbox(submit_btn=False, stop_btn=True)}  # what is typed now stays
                for piece in self._pieces(record, question, turns, product, adapter):
                    if isinstance(piece, Waiting):
                        line = f"Number {piece.place} in the queue…"
                        yield {self.chat: _under_way(before, line, side, name), **busy}
                    elif isinstance(piece, str):
                        yield {self.chat: _under_way(before, piece, side, name), self.written: piece, **busy}
                    else:
                        record.finish(piece)
                        before.append(bot_message(answer_html(piece, side, name)))
        for answer in old:
            self.context.store.delete_answer(answer.answer_id)
        yield {**self.open(conversation_id), self.question: _ready()}

    def _pieces(
        self, record: Recording, question: str, turns: Sequence[Answer], product: str, adapter: str | None
    ) -> Iterator[Waiting | str | Answer]:
        """Places in the queue, the text so far, at most once every REDRAW seconds, and at last the Answer."""
        text, drawn = "", 0.0
        history = [turn for turn in turns if not turn.beside]
        try:
            for piece in self.context.answer(question, history, _product(product), adapter, found=record.found):
                if not isinstance(piece, str):
                    yield piece
                    continue
                text += piece
                record.wrote(text)
                if time.monotonic() - drawn > REDRAW:
                    drawn = time.monotonic()
                    yield text
        except UserError as error:
            raise gr.Error(escape(str(error)), title="No answer", print_exception=False) from error

    def stop(self, conversation_id: str, asked: str, answering: str, written: str) -> Update:
        """Keep what was written, marked as stopped; where nothing was, the question goes back into the box."""
        turns = self._turns(conversation_id)
        if answering not in {turn.answer_id for turn in turns}:
            return self.give_back(conversation_id, asked)
        if not keep_stopped(self.context.store, answering, written):
            return self.give_back(drop_question(self.context.store, conversation_id, answering), asked)
        return self.give_back(conversation_id, "")

    def give_back(self, conversation_id: str, asked: str) -> Update:
        """Back to the last whole answer, with the question in the box to be changed or asked again."""
        if self.context.store.owner_of_conversation(conversation_id) is None:  # it was begun with this question
            conversation_id = ""
        return {**self.open(conversation_id), self.question: _ready(asked)}

    # -- conversations -------------------------------------------------------------------------------------------------

    def open(self, conversation_id: str) -> Update:
        """Show a conversation and the sources of its last answer; "" is a new one."""
        turns = self._turns(conversation_id)
        return {
            self.conversation_id: conversation_id,
            self.chat: gr.Chatbot(list[Any](messages(turns)), feedback_value=self._thumbs(turns)),
            **self.conversations.show(conversation_id),
            **self._show_sources(turns[-1] if turns else None),
        }

    # -- evidence ------------------------------------------------------------------------------------------------------

    def choose_answer(self, conversation_id: str, event: gr.SelectData) -> Update:
        """Show the sources of the answer that was clicked."""
        return self._show_sources(self._turn_at(conversation_id, event.index))

    def rate(self, conversation_id: str, event: gr.LikeData) -> Update:
        """Thumbs up or down, recorded; down opens the correction editor for that answer. The same thumb again takes it back."""
        answer = self._turn_at(conversation_id, event.index)
        pair = next(group for group in grouped(self._turns(conversation_id)) if answer in group)
        rating = 1 if event.liked is True else -1 if event.liked is False else 0
        other = next((row.answer_id for row in pair if row is not answer), "")
        preferred = f"preferred to {other}" if other and rating > 0 else ""
        self.context.store.rate(answer.answer_id, self.context.user().name, rating, preferred)
        if rating < 0:
            return {**self._show_sources(answer), **self.editor.open(answer.answer_id)}
        if preferred:
            gr.Info(f"Recorded: {escape(model_name(answer.adapter_id))} is preferred.", duration=3)
        return self._show_sources(answer)

    def _thumbs(self, turns: Sequence[Answer]) -> list[str | None]:
        """What the user said of each answer, in the order shown."""
        given = self.context.store.ratings_of([turn.answer_id for turn in turns], self.context.user().name)
        return [{1: "Like", -1: "Dislike"}.get(given.get(turn.answer_id, 0)) for turn in turns]

    # -- state of the page ---------------------------------------------------------------------------------------------

    def greet(self) -> list[Any]:
        """What a freshly loaded page shows: conversations, products, example questions, or the first steps."""
        self.context.refresh()
        documents = self.context.documents()
        index = self.context.index
        of_each = {document.product: document for document in reversed(documents)}  # each product's first comes before the others
        shown = list(dict.fromkeys([*reversed(of_each.values()), *documents]))[:4]
        sections = [[chunk.section for chunk in index.chunks(document.doc_id)] for document in shown] if index else []
        examples: list[Any] = [{"text": question} for question in example_questions(sections)]
        return [
            self.conversations.find("", ""),
            gr.Dropdown([ALL_PRODUCTS, *self.context.products()], value=ALL_PRODUCTS),
            gr.Chatbot(examples=examples, placeholder=WELCOME, visible=bool(documents)),
            self.model_html(),
            gr.Column(visible=not documents),
            gr.Textbox(interactive=bool(documents)),
            self.models.choices(),
        ]

    def model_html(self) -> str:
        note = ' <span class="badge partly">demonstration model</span>' if self.context.demonstration else ""
        label = "quotes the manual" if self.context.model_label == "quote" else self.context.model_label
        return f'<span class="model">{escape(label)}</span>{note}'

    def _turns(self, conversation_id: str) -> list[Answer]:
        return self.context.own_turns(conversation_id)

    def _turn_at(self, conversation_id: str, index: int | tuple[int, int]) -> Answer:
        """The answer of message `index`, or the first one that it asks for."""
        return placed(self._turns(conversation_id))[index if isinstance(index, int) else index[0]][1]

    def _show_sources(self, answer: Answer | None) -> Update:
        return {**self.evidence.show(answer), self.editor.panel: gr.Column(visible=False)}


def _under_way(before: list[Any], text: str = "", side: str = "", name: str = "") -> list[Any]:
    """The messages with an answer that is being written."""
    return [*before, bot_message(partial_html(text, side, name))]


def _product(chosen: str) -> str:
    return "" if chosen == ALL_PRODUCTS else chosen


def _ready(question: str = "") -> gr.Textbox:
    return gr.Textbox(value=question, submit_btn=True, stop_btn=False, placeholder="Ask about your manuals")


WELCOME = """<div class="welcome"><h2>Ask your manuals</h2>
<p>Answers come from the indexed manuals alone, each with its page. What they do not say is refused.</p></div>"""
GUIDE = """<div class="guide"><h2>Start with a manual</h2><ol>
<li><b>Add one:</b> PDF, Word, PowerPoint, Excel, HTML, Markdown or text. It is read where Emendo runs.</li>
<li><b>Ask</b> here. Each answer names its section and page, or says that the manual does not tell.</li>
<li><b>Correct</b> what is wrong. Approved corrections answer at once and teach the model at the next tuning.</li></ol></div>"""
