"""The list of conversations: new, search, choose, rename, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from serve.session import ServeContext

Update = dict[Any, Any]
TO_THE_TOP = "() => window.scrollTo({ top: 0, behavior: 'smooth' })"  # on a phone the list stands below the conversation


class ConversationList:
    """The left column of the chat page. `open_` shows a conversation by its id; "" is a new one."""

    def __init__(self, context: ServeContext):
        self.context = context
        self.new = gr.Button("New conversation", size="sm", variant="primary", elem_id="new-conversation")
        self.search = gr.Textbox(
            placeholder="Search", label="Search conversations", show_label=False, container=False, elem_id="search-conversations"
        )
        self.list = gr.Radio(
            [], label="Conversations", show_label=False, container=False, elem_classes="list", elem_id="conversation-list"
        )
        with gr.Accordion("Rename, export, delete", open=False, visible=False, elem_id="manage") as self.manage:
            self.title = gr.Textbox(label="Title", max_length=120)
            self.export = gr.HTML("", elem_id="export-conversation")
            with gr.Row():
                self.rename = gr.Button("Rename", size="sm")
                self.delete = gr.Button("Delete", size="sm", variant="stop")

    @property
    def outputs(self) -> list[Any]:
        """The outputs of `show`."""
        return [self.list, self.manage, self.title, self.export]

    def wire(self, conversation_id: gr.State, open_: Callable[[str], Update], opened: list[Any]) -> None:
        """`opened` are the outputs of `open_`, this list's own among them."""
        quiet: dict[str, Any] = {"show_progress": "hidden"}

        def delete(conversation: str) -> Update:
            self.context.own_turns(conversation)  # or gr.Error
            self.context.store.delete_conversation(conversation)
            return open_("")

        self.new.click(lambda: open_(""), None, opened, **quiet)
        self.list.input(open_, self.list, opened, **quiet).then(None, js=TO_THE_TOP)
        self.delete.click(delete, conversation_id, opened, **quiet)
        self.rename.click(self.rename_to, [conversation_id, self.title], self.outputs, **quiet)
        self.search.change(self.find, [self.search, conversation_id], self.list, **quiet)

    def show(self, conversation_id: str) -> Update:
        """All conversations, this one chosen."""
        rows = self.context.store.conversations(self.context.user().name)
        title = next((row["title"] for row in rows if row["conversation_id"] == conversation_id), "")
        return {
            self.list: self.find("", conversation_id),
            self.manage: gr.Accordion(visible=bool(conversation_id)),
            self.title: title,
            self.export: export_html(conversation_id) if conversation_id else "",
        }

    def find(self, words: str, conversation_id: str) -> gr.Radio:
        """The conversations whose title holds the words."""
        rows = self.context.store.conversations(self.context.user().name)
        found = [(row["title"], row["conversation_id"]) for row in rows if words.lower() in row["title"].lower()]
        chosen = conversation_id if any(conversation_id == key for _, key in found) else None
        return gr.Radio(found, value=chosen)

    def rename_to(self, conversation_id: str, title: str) -> Update:
        self.context.own_turns(conversation_id)  # or gr.Error
        if title.strip():
            self.context.store.rename_conversation(conversation_id, title.strip())
        return self.show(conversation_id)


def export_html(conversation_id: str) -> str:
    """Links to the conversation as a file."""
    href = f"conversations/{conversation_id}/export?to="
    links = (f'<a class="download" href="{href}{to}" download>{name}</a>' for to, name in (("md", "Markdown"), ("json", "JSON")))
    return f"<p>Export: {' · '.join(links)}</p>"
