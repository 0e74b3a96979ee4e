"""The chat page: conversations at the left, the conversation in the middle, sources or the correction editor at the right."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from emendo.records import Answer, UserError
from serve.examples import example_questions
from serve.pages.conversations import ConversationList, Update, title_of
from serve.pages.correct import CorrectionEditor
from serve.pages.sources import SourcesPanel
from serve.queue import Waiting
from serve.render import answer_html, escape, partial_html
from serve.session import ServeContext

ALL_PRODUCTS = "All manuals"
SERVING, BASE = "serving", "base"  # values of the model picker beside the ids of adapters
REDRAW = 0.05  # seconds between two redraws of an answer being written
SHOW_EDITOR = "() => document.getElementById('editor').scrollIntoView({ block: 'nearest', behavior: 'smooth' })"
QUIET: dict[str, Any] = {"show_progress": "hidden"}


class ChatPage:
    """Layout and handlers of the chat. What a browser holds are ids; every turn is read from the database."""

    def __init__(self, context: ServeContext):
        self.context = context
        self.conversation_id = gr.State("")
        self.asked = gr.State("")  # the question being answered, given back when nothing of its answer was written
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
            self.adapter = gr.Dropdown(
                [SERVING], value=SERVING, label="Model", show_label=False, container=False, min_width=160, visible=False
            )
            self.model = gr.HTML(self.model_html(), elem_id="model-label")
        self.guide = gr.HTML(GUIDE, visible=False, elem_id="guide")
        self.chat = gr.Chatbot(
            [],
            show_label=False,
            container=False,
            height="100%",
            layout="bubble",
            elem_id="chat",
            buttons=[],
            feedback_options=("Dislike",),
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
            max_length=self.context.settings.max_question_chars,
            submit_btn=True,
            autofocus=True,
            elem_id="question",
        )

    @property
    def greeted(self) -> list[Any]:
        """The outputs of `greet`."""
        return [self.conversations.list, self.product, self.chat, self.model, self.guide, self.question, self.adapter]

    def wire(self, app: gr.Blocks) -> None:
        """Connect the handlers; called once all pages are laid out."""
        self._wire_asking()
        self.conversations.wire(self.conversation_id, self.open, self.opened)
        self.evidence.wire()
        self.editor.wire(self.evidence.answer_id)
        self.chat.select(self.choose_answer, self.conversation_id, self.opened, **QUIET)
        editing = list(dict.fromkeys([*self.opened, *self.editor.outputs]))
        disliked = self.chat.like(self.dislike, self.conversation_id, editing, **QUIET)
        begun = self.evidence.correct.click(self.editor.open, self.evidence.answer_id, self.editor.outputs, **QUIET)
        for event in (disliked, begun):
            event.then(None, js=SHOW_EDITOR)
        app.load(self.greet, None, self.greeted, **QUIET)

    def _wire_asking(self) -> None:
        """All ways to ask share one queue for the model; a stop or a failure gives the question back."""
        outputs = [*self.opened, self.question, self.asked, self.written]
        how = [self.conversation_id, self.product, self.adapter]
        queue: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None, **QUIET}  # serve.queue has the line
        asking = [
            self.question.submit(self.ask, [self.question, *how], outputs, **queue),
            self.chat.example_select(self.ask_example, how, outputs, **queue),
            self.chat.retry(self.retry, how, outputs, **queue),
        ]
        self.question.stop(self.stop, [self.asked, self.written, *how], outputs, cancels=[*asking], **QUIET)
        self.chat.undo(self.undo, self.conversation_id, outputs, **QUIET)
        for event in asking:
            event.failure(self.give_back, [self.conversation_id, self.asked], outputs, **QUIET)

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, question: str, conversation_id: str, product: str, adapter: str = SERVING) -> Iterator[Update]:
        """Stream the answer; a conversation begins with its first answer, so an unanswered question leaves nothing."""
        if question.strip():
            yield from self._answer(question.strip(), conversation_id, self._turns(conversation_id), product, adapter)
        else:
            yield {self.question: gr.Textbox(value="", placeholder="Type a question first")}

    def ask_example(self, conversation_id: str, product: str, adapter: str, event: gr.SelectData) -> Iterator[Update]:
        yield from self.ask(event.value["text"], conversation_id, product, adapter)

    def retry(self, conversation_id: str, product: str, adapter: str = SERVING) -> Iterator[Update]:
        """Ask the last question again; its old answer goes when the new one is there."""
        *turns, last = self._turns(conversation_id)
        yield from self._answer(last.question, conversation_id, turns, product, adapter)
        self.context.store.delete_answer(last.answer_id)
        yield self.open(conversation_id)

    def undo(self, conversation_id: str) -> Update:
        """Take the last question and its answer back; the question stands in the box to be changed and asked again."""
        *_, last = self._turns(conversation_id)
        self.context.store.delete_answer(last.answer_id)
        return {**self.open(conversation_id), self.question: _ready(last.question)}

    def _answer(
        self, question: str, conversation_id: str, turns: Sequence[Answer], product: str, adapter: str
    ) -> Iterator[Update]:
        shown = [*messages(turns), _user(question)]
        busy = gr.Textbox(value="", submit_btn=False, stop_btn=True)
        yield {self.chat: [*shown, _bot(partial_html(""))], self.question: busy, self.asked: question, self.written: ""}
        owner = self.context.user().name
        for piece in self._pieces(question, turns, product, adapter):
            if isinstance(piece, Waiting):
                yield {self.chat: [*shown, _bot(partial_html(f"Number {piece.place} in the queue…"))]}
                continue
            if isinstance(piece, str):
                yield {self.chat: [*shown, _bot(partial_html(piece))], self.written: piece}
                continue
            conversation_id = conversation_id or self.context.store.create_conversation(title_of(question), owner)
            self.context.store.save_answer(piece, conversation_id, owner)
            yield {**self.open(conversation_id), self.question: _ready()}

    def _pieces(self, question: str, turns: Sequence[Answer], product: str, adapter: str) -> Iterator[Waiting | str | Answer]:
        """Places in the queue, the text so far, at most once every REDRAW seconds, and at last the Answer."""
        text, drawn = "", 0.0
        try:
            for piece in self.context.answer(question, turns, _product(product), self._adapter(adapter)):
                if not isinstance(piece, str):
                    yield piece
                    continue
                text += piece
                if time.monotonic() - drawn > REDRAW:
                    drawn = time.monotonic()
                    yield text
        except UserError as error:
            raise gr.Error(escape(str(error)), title="No answer", print_exception=False) from error

    def stop(self, asked: str, written: str, conversation_id: str, product: str, adapter: str = SERVING) -> Update:
        """Keep what was written, marked as stopped; where nothing was, the question goes back into the box."""
        turns = self._turns(conversation_id)
        if not written.strip() or (turns and turns[-1].question == asked):  # it was ready before the stop came
            return self.give_back(conversation_id, "" if written.strip() else asked)
        owner, chosen = self.context.user().name, self._adapter(adapter)
        answerer = self.context.answerer if chosen is None else self.context.answerer_with(chosen)
        answer = answerer.stopped(asked, written, turns, _product(product))
        conversation_id = conversation_id or self.context.store.create_conversation(title_of(asked), owner)
        self.context.store.save_answer(answer, conversation_id, owner)
        return {**self.open(conversation_id), self.question: _ready()}

    def _adapter(self, chosen: str) -> str | None:
        """What the model picker's value is for ServeContext.answer."""
        if chosen in (SERVING, BASE):
            return None if chosen == SERVING else ""
        if chosen not in self.context.adapters():
            raise UserError(f"adapter {chosen!r} is not there any more; choose another model")
        return chosen

    def give_back(self, conversation_id: str, asked: str) -> Update:
        """Back to the last whole answer, with the question in the box to be changed or asked again."""
        return {**self.open(conversation_id), self.question: _ready(asked)}

    # -- conversations -------------------------------------------------------------------------------------------------

    def open(self, conversation_id: str) -> Update:
        """Show a conversation and the sources of its last answer; "" is a new one."""
        turns = self._turns(conversation_id)
        return {
            self.conversation_id: conversation_id,
            self.chat: messages(turns),
            **self.conversations.show(conversation_id),
            **self._show_sources(turns[-1] if turns else None),
        }

    # -- evidence ------------------------------------------------------------------------------------------------------

    def choose_answer(self, conversation_id: str, event: gr.SelectData) -> Update:
        """Show the sources of the answer that was clicked."""
        return self._show_sources(self._turn_at(conversation_id, event.index))

    def dislike(self, conversation_id: str, event: gr.LikeData) -> Update:
        """Thumbs down: the correction editor for that answer."""
        answer = self._turn_at(conversation_id, event.index)
        return {**self._show_sources(answer), **self.editor.open(answer.answer_id)}

    # -- state of the page ---------------------------------------------------------------------------------------------

    def greet(self) -> list[Any]:
        """What a freshly loaded page shows: conversations, products, example questions, or the first steps."""
        self.context.refresh()
        documents = self.context.documents()
        index = self.context.index
        sections = [[chunk.section for chunk in index.chunks(d.doc_id)] for d in documents[:4]] if index else []
        examples: list[Any] = [{"text": question} for question in example_questions(sections)]
        return [
            self.conversations.find("", ""),
            gr.Dropdown([ALL_PRODUCTS, *self.context.products()], value=ALL_PRODUCTS),
            gr.Chatbot(examples=examples, placeholder=WELCOME, visible=bool(documents)),
            self.model_html(),
            gr.HTML(visible=not documents),
            gr.Textbox(interactive=bool(documents)),
            self._model_choices(),
        ]

    def _model_choices(self) -> gr.Dropdown:
        """The model that serves, its base and its adapters, where there is something to choose."""
        adapters, promoted = self.context.adapters(), self.context.answerer.adapter_id
        others = [(f"Adapter {name}", name) for name in adapters if name != promoted]
        base = [("Base model", BASE)] if promoted else []
        serving = f"Adapter {promoted}" if promoted else "Base model"
        return gr.Dropdown([(serving, SERVING), *base, *others], value=SERVING, visible=bool(adapters))

    def model_html(self) -> str:
        note = ' <span class="badge partly">demonstration model</span>' if self.context.demonstration else ""
        label = "quotes the manual" if self.context.model_label == "quote" else self.context.model_label
        return f'<span class="model">{escape(label)}</span>{note}'

    def _turns(self, conversation_id: str) -> list[Answer]:
        return self.context.own_turns(conversation_id)

    def _turn_at(self, conversation_id: str, index: int | tuple[int, int]) -> Answer:
        """The answer of message `index`; messages come in pairs of question and answer."""
        message = index if isinstance(index, int) else index[0]
        return self._turns(conversation_id)[message // 2]

    def _show_sources(self, answer: Answer | None) -> Update:
        return {**self.evidence.show(answer), self.editor.panel: gr.Column(visible=False)}


def messages(turns: Sequence[Answer]) -> list[dict[str, str]]:
    """The turns as chat messages, question and answer by turns."""
    pairs = ((_user(turn.question), _bot(answer_html(turn))) for turn in turns)
    return [message for pair in pairs for message in pair]


def _user(question: str) -> dict[str, str]:
    return {"role": "user", "content": escape(question)}


def _bot(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def _product(chosen: str) -> str:
    return "" if chosen == ALL_PRODUCTS else chosen


def _ready(question: str = "") -> gr.Textbox:
    return gr.Textbox(value=question, submit_btn=True, stop_btn=False, placeholder="Ask about your manuals")


WELCOME = """<div class="welcome"><h2>Ask your manuals</h2>
<p>Answers come from the indexed manuals alone, each with its page. What they do not say is refused.</p></div>"""
GUIDE = """<div class="guide"><h2>Start with a manual</h2><ol>
<li><b>Add one</b> on the Documents page: PDF, Word, HTML, Markdown or plain text. Nothing leaves this computer.</li>
<li><b>Ask</b> here. Each answer names its section and page, or says that the manual does not tell.</li>
<li><b>Correct</b> what is wrong. Approved corrections answer at once and teach the model at the next tuning.</li></ol></div>"""
