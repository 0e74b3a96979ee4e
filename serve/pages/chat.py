"""The chat page: conversations at the left, the conversation in the middle, sources or the correction editor at the right."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from emendo.records import Answer, UserError
from serve.examples import example_questions
from serve.page_images import page_image
from serve.pages.correct import CorrectionEditor
from serve.render import answer_html, escape, note_html, page_html, partial_html, sources_html
from serve.session import ServeContext

ALL_PRODUCTS = "All manuals"
REDRAW = 0.05  # seconds between two redraws of an answer being written
CHOOSE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-hit]');
  if (button) trigger('click', { hit: Number(button.dataset.hit), page: Number(button.dataset.page || 0) });
});
"""
Update = dict[Any, Any]


class ChatPage:
    """Layout and handlers of the chat. What a browser holds are ids; every turn is read from the database."""

    def __init__(self, context: ServeContext):
        self.context = context
        self.conversation_id = gr.State("")
        self.answer_id = gr.State("")  # of the answer whose sources are shown
        self.asked = gr.State("")  # the question being answered, given back when it is stopped
        with gr.Row(elem_id="chat-page", equal_height=False):
            with gr.Column(scale=2, min_width=210, elem_id="conversations"):
                self._lay_out_conversations()
            with gr.Column(scale=6, min_width=320, elem_id="dialogue"):
                self._lay_out_dialogue()
            with gr.Column(scale=4, min_width=300, elem_id="evidence"):
                with gr.Column(elem_id="sources-panel") as self.sources_panel:
                    self.correct = gr.Button("Correct this answer", size="sm", visible=False, elem_id="correct")
                    self.page = gr.HTML("", js_on_load=CHOOSE, elem_id="page-view")
                    self.sources = gr.HTML(sources_html(None), js_on_load=CHOOSE, elem_id="sources")
                self.editor = CorrectionEditor(context, self.sources_panel)

    def _lay_out_conversations(self) -> None:
        self.new = gr.Button("New conversation", size="sm", variant="primary", elem_id="new-conversation")
        self.search = gr.Textbox(placeholder="Search", show_label=False, container=False, elem_id="search-conversations")
        self.list = gr.Radio([], show_label=False, container=False, elem_classes="list", elem_id="conversation-list")
        with gr.Accordion("Rename or delete", open=False, visible=False, elem_id="manage") as self.manage:
            self.title = gr.Textbox(label="Title", max_length=120)
            with gr.Row():
                self.rename = gr.Button("Rename", size="sm")
                self.delete = gr.Button("Delete", size="sm", variant="stop")

    def _lay_out_dialogue(self) -> None:
        with gr.Row(elem_id="scope"):
            self.product = gr.Dropdown([ALL_PRODUCTS], value=ALL_PRODUCTS, show_label=False, container=False, min_width=160)
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
        return [self.list, self.product, self.chat, self.model, self.guide, self.question]

    def wire(self, app: gr.Blocks) -> None:
        """Connect the handlers; called once all pages are laid out."""
        one_at_a_time: dict[str, Any] = {
            "concurrency_id": "model",
            "concurrency_limit": self.context.settings.answers_at_once,
            "show_progress": "hidden",
        }
        talk = [self.chat, self.question, self.asked, self.conversation_id, self.answer_id, self.sources, self.page]
        talk += [self.correct, self.list, self.manage, self.title, self.editor.panel, self.sources_panel]
        asking = [self.question, self.conversation_id, self.product]
        submit = self.question.submit(self.ask, asking, talk, **one_at_a_time)
        example = self.chat.example_select(self.ask_example, [self.conversation_id, self.product], talk, **one_at_a_time)
        retry = self.chat.retry(self.retry, [self.conversation_id, self.product], talk, **one_at_a_time)
        self.question.stop(
            self.stop, [self.conversation_id, self.asked], talk, cancels=[submit, example, retry], show_progress="hidden"
        )
        quiet: dict[str, Any] = {"show_progress": "hidden"}
        self.list.input(self.open, self.list, talk, **quiet)
        self.new.click(lambda: self.open(""), None, talk, **quiet)
        self.search.change(self.find, [self.search, self.conversation_id], self.list, **quiet)
        self.rename.click(self.rename_conversation, [self.conversation_id, self.title], self.list, **quiet)
        self.delete.click(self.delete_conversation, self.conversation_id, talk, **quiet)
        self.chat.select(self.choose_answer, self.conversation_id, talk, **quiet)
        self.chat.like(self.dislike, self.conversation_id, [*talk, *self.editor.outputs], **quiet)
        self.correct.click(self.editor.open, self.answer_id, self.editor.outputs, **quiet)
        self.editor.wire(self.answer_id)
        self.sources.click(self.show_page, self.answer_id, self.page, **quiet)
        self.page.click(self.show_page, self.answer_id, self.page, **quiet)
        app.load(self.greet, None, self.greeted, **quiet)

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, question: str, conversation_id: str, product: str) -> Iterator[Update]:
        """Stream the answer; the conversation is made with its first answer, so an unanswered question leaves nothing."""
        question = question.strip()
        if not question:
            yield {self.question: gr.Textbox(value="", placeholder="Type a question first")}
            return
        turns = self._turns(conversation_id)
        shown = [*messages(turns), _user(question)]
        busy = gr.Textbox(value="", submit_btn=False, stop_btn=True)
        yield {self.chat: [*shown, _bot(partial_html(""))], self.question: busy, self.asked: question, **self._closed_editor()}
        try:
            self.context.refresh()
            answer = None
            for piece in self._pieces(question, turns, product):
                if isinstance(piece, Answer):
                    answer = piece
                else:
                    yield {self.chat: [*shown, _bot(partial_html(piece))]}
            if answer is None:
                raise UserError("the model stopped before its answer was whole; ask again")
        except UserError as error:
            gr.Warning(escape(str(error)), title="No answer")
            yield {self.chat: messages(turns), self.question: _ready(question)}
            return
        conversation_id = conversation_id or self.context.store.create_conversation(_title(question))
        self.context.store.save_answer(answer, conversation_id)
        yield {
            **self.open(conversation_id),
            self.question: _ready(),
        }

    def _pieces(self, question: str, turns: Sequence[Answer], product: str) -> Iterator[str | Answer]:
        """The text so far, at most once every REDRAW seconds, and at last the Answer."""
        if self.context.index is None:
            raise UserError("no manual is indexed yet; add one on the Documents page")
        text, drawn = "", 0.0
        for piece in self.context.answerer.stream(question, turns, "" if product == ALL_PRODUCTS else product):
            if isinstance(piece, Answer):
                yield piece
                return
            text += piece
            if time.monotonic() - drawn > REDRAW:
                drawn = time.monotonic()
                yield text

    def ask_example(self, conversation_id: str, product: str, event: gr.SelectData) -> Iterator[Update]:
        yield from self.ask(event.value["text"], conversation_id, product)

    def retry(self, conversation_id: str, product: str) -> Iterator[Update]:
        """Ask the last question again; its old answer goes once the new one is there."""
        turns = self._turns(conversation_id)
        if turns:
            self.context.store.delete_answer(turns[-1].answer_id)
            yield from self.ask(turns[-1].question, conversation_id, product)

    def stop(self, conversation_id: str, asked: str) -> Update:
        """Back to the last whole answer, with the question in the box to be changed."""
        return {**self.open(conversation_id), self.question: _ready(asked)}

    # -- conversations -------------------------------------------------------------------------------------------------

    def open(self, conversation_id: str) -> Update:
        """Show a conversation and the sources of its last answer; "" is a new one."""
        turns = self._turns(conversation_id)
        return {
            self.conversation_id: conversation_id,
            self.chat: messages(turns),
            self.list: self._conversations(selected=conversation_id),
            self.title: self._title_of(conversation_id),
            self.manage: gr.Accordion(visible=bool(conversation_id)),
            **self._show_sources(turns[-1] if turns else None),
        }

    def find(self, words: str, conversation_id: str) -> gr.Radio:
        return self._conversations(words, conversation_id)

    def rename_conversation(self, conversation_id: str, title: str) -> gr.Radio:
        if title.strip():
            self.context.store.rename_conversation(conversation_id, title.strip())
        return self._conversations(selected=conversation_id)

    def delete_conversation(self, conversation_id: str) -> Update:
        self.context.store.delete_conversation(conversation_id)
        return self.open("")

    # -- evidence ------------------------------------------------------------------------------------------------------

    def choose_answer(self, conversation_id: str, event: gr.SelectData) -> Update:
        """Show the sources of the answer that was clicked."""
        return self._show_sources(self._turn_at(conversation_id, event.index))

    def dislike(self, conversation_id: str, event: gr.LikeData) -> Update:
        """Thumbs down: the correction editor for that answer."""
        answer = self._turn_at(conversation_id, event.index)
        return {**self._show_sources(answer), **self.editor.open(answer.answer_id)}

    def show_page(self, answer_id: str, event: gr.EventData) -> str:
        """The page of a passage with the passage boxed; page 0 asks for the passage's first one."""
        asked: dict[str, int] = event._data
        if not answer_id or asked.get("hit", -1) < 0:
            return ""
        chunk = self.context.store.answer(answer_id).hits[asked["hit"]].chunk
        path = self.context.source_file(chunk.doc_id)
        if path is None:
            return note_html("The original file is not where it was indexed from; index it again to see its pages.")
        page = asked.get("page") or chunk.boxes[0].page
        try:
            return page_html(chunk, asked["hit"], page, self.context.pages_of(chunk.doc_id), page_image(path, page, chunk.boxes))
        except UserError as error:
            return note_html(str(error))

    # -- state of the page ---------------------------------------------------------------------------------------------

    def greet(self) -> list[Any]:
        """What a freshly loaded page shows: conversations, products, example questions, or the first steps."""
        self.context.refresh()
        documents = self.context.documents()
        index = self.context.index
        sections = (chunk.section for d in documents[:12] for chunk in index.chunks(d.doc_id)) if index else ()
        examples = [{"text": question} for question in example_questions(sections)]
        return [
            self._conversations(),
            gr.Dropdown([ALL_PRODUCTS, *self.context.products()], value=ALL_PRODUCTS),
            gr.Chatbot(examples=examples, placeholder=WELCOME, visible=bool(documents)),
            self.model_html(),
            gr.HTML(visible=not documents),
            gr.Textbox(interactive=bool(documents)),
        ]

    def model_html(self) -> str:
        note = ' <span class="badge partly">demonstration model</span>' if self.context.demonstration else ""
        return f'<span class="model">{escape(self.context.model_label)}</span>{note}'

    def _turns(self, conversation_id: str) -> list[Answer]:
        return self.context.store.turns(conversation_id) if conversation_id else []

    def _turn_at(self, conversation_id: str, index: int | tuple[int, int]) -> Answer:
        """The answer of message `index`; messages come in pairs of question and answer."""
        message = index if isinstance(index, int) else index[0]
        return self._turns(conversation_id)[message // 2]

    def _show_sources(self, answer: Answer | None) -> Update:
        return {
            self.answer_id: answer.answer_id if answer else "",
            self.sources: sources_html(answer),
            self.page: "",
            self.correct: gr.Button(visible=answer is not None),
            **self._closed_editor(),
        }

    def _closed_editor(self) -> Update:
        return {self.editor.panel: gr.Column(visible=False), self.sources_panel: gr.Column(visible=True)}

    def _conversations(self, words: str = "", selected: str = "") -> gr.Radio:
        rows = [(row["title"], row["conversation_id"]) for row in self.context.store.conversations()]
        shown = [(title, key) for title, key in rows if words.lower() in title.lower()]
        return gr.Radio(shown, value=selected or None)

    def _title_of(self, conversation_id: str) -> str:
        rows = self.context.store.conversations()
        return next((row["title"] for row in rows if row["conversation_id"] == conversation_id), "")


def messages(turns: Sequence[Answer]) -> list[dict[str, str]]:
    """The turns as chat messages, question and answer by turns."""
    pairs = ((_user(turn.question), _bot(answer_html(turn))) for turn in turns)
    return [message for pair in pairs for message in pair]


def _user(question: str) -> dict[str, str]:
    return {"role": "user", "content": escape(question)}


def _bot(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def _ready(question: str = "") -> gr.Textbox:
    return gr.Textbox(value=question, submit_btn=True, stop_btn=False, placeholder="Ask about your manuals")


def _title(question: str, most: int = 60) -> str:
    line = " ".join(question.split())
    return line if len(line) <= most else line[: most - 1].rsplit(" ", 1)[0] + "…"


WELCOME = """<div class="welcome"><h2>Ask your manuals</h2>
<p>Answers come from the indexed manuals alone, each with its page. What they do not say is refused.</p></div>"""
GUIDE = """<div class="guide"><h2>Start with a manual</h2><ol>
<li><b>Add one</b> on the Documents page: PDF, Word, HTML, Markdown or plain text. Nothing leaves this computer.</li>
<li><b>Ask</b> here. Each answer names its section and page, or says that the manual does not tell.</li>
<li><b>Correct</b> what is wrong. Approved corrections teach the model at the next tuning.</li></ol></div>"""
