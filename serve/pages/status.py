"""The status page: which model and index answer now, and what they were made from."""

from __future__ import annotations

import platform
from importlib.metadata import version

import gradio as gr

from emendo import __version__
from emendo.records import UserError
from serve.render import facts_html, note_html
from serve.session import ServeContext

PACKAGES = ("gradio", "langchain-core", "torch", "transformers", "faiss-cpu")


class StatusPage:
    def __init__(self, context: ServeContext):
        self.context = context
        with gr.Column(elem_classes="page"):
            gr.HTML("<h2>Status</h2><p class='muted'>Any answer can be traced to these ids.</p>")
            self.facts = gr.HTML(self.facts_html(), elem_id="status-facts")
            self.reload = gr.Button("Load the newest index and the promoted model", size="sm", elem_id="reload")

    def wire(self, tab: gr.Tab) -> None:
        tab.select(self.facts_html, None, self.facts, show_progress="hidden")
        self.reload.click(self.reload_now, None, self.facts)

    def reload_now(self) -> str:
        try:
            self.context.user("admin")
            self.context.reload()
        except UserError as error:
            return note_html(str(error)) + self.facts_html()
        gr.Info("The newest index and the promoted model answer now.", duration=3)
        return self.facts_html()

    def facts_html(self) -> str:
        context = self.context
        promoted = context.store.promoted() or "none, the base model serves"
        index = context.index
        facts = [
            ("Model", context.answerer.model_id),
            ("Adapter in use", context.answerer.adapter_id or "none"),
            ("Adapter promoted", promoted),
            ("Index", index.index_id if index else "none yet: add a manual on the Documents page"),
            ("Embedder", context.embedder.id),
            ("Documents", f"{len(context.documents())}, {index.manifest.chunks if index else 0} passages"),
            ("Corrections", self._corrections()),
            ("Workspace", str(context.workspace.root)),
            ("Emendo", __version__),
            ("Python", platform.python_version()),
        ]
        return facts_html([*facts, *((name, version(name)) for name in PACKAGES)])

    def _corrections(self) -> str:
        rows = self.context.store.corrections()
        count = {status: sum(row.status == status for _, row in rows) for status in ("open", "approved", "rejected")}
        return ", ".join(f"{number} {status}" for status, number in count.items())
