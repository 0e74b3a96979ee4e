"""The documents page: add a manual, see what was read of it, look into its passages, remove it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from emendo.records import UserError
from serve.ingest_job import Progress
from serve.render import note_html
from serve.render_pages import chunks_html, documents_html, progress_html
from serve.session import ServeContext
from serve.uploads import FILE_TYPES, MOST_FILES, add_uploads, delete_upload


class DocumentsPage:
    def __init__(self, context: ServeContext):
        self.context = context
        self.changed = gr.State(0)  # counts changes of the index made here; the chat page follows it
        with gr.Column(elem_classes="page"):
            gr.HTML("<h2>Documents</h2><p class='muted'>What the bot answers from. The files stay where Emendo runs.</p>")
            with gr.Row(elem_id="add-documents") as self.adding:
                self.files = gr.File(file_count="multiple", file_types=FILE_TYPES, label="Manuals", height=150, scale=3)
                with gr.Column(scale=2, min_width=240):
                    self.product = gr.Textbox(label="Product (optional)", placeholder="as your users call it", max_length=80)
                    self.add = gr.Button("Add to the index", variant="primary", elem_id="add-files")
            self.progress = gr.HTML("", elem_id="ingest-progress")
            self.table = gr.HTML(documents_html([]), elem_id="documents-table")
            with gr.Row(elem_id="inspect-row"):
                self.chosen = gr.Dropdown([], label="Look into a document", scale=3)
                self.delete = gr.Button("Delete…", variant="stop", size="sm", scale=1, interactive=False)
            with gr.Row(visible=False, elem_id="confirm-delete") as self.confirm:
                self.warning = gr.HTML("")
                self.keep = gr.Button("Keep it", size="sm")
                self.really = gr.Button("Delete for good", variant="stop", size="sm")
            self.chunks = gr.HTML("", elem_id="chunks")

    def wire(self, app: gr.Blocks) -> None:
        shown = [self.table, self.adding, self.chosen, self.delete, self.chunks, self.confirm]
        indexing: dict[str, Any] = {"concurrency_id": "index", "concurrency_limit": 1, "show_progress": "hidden"}
        added = self.add.click(self.index_files, [self.files, self.product], [self.progress, self.files], **indexing)
        added.then(self.show, None, shown, show_progress="hidden").then(_count, self.changed, self.changed)
        self.chosen.change(self.inspect, self.chosen, [self.chunks, self.delete, self.confirm], show_progress="hidden")
        self.delete.click(self.ask_to_delete, self.chosen, [self.warning, self.confirm], show_progress="hidden")
        self.keep.click(lambda: gr.Row(visible=False), None, self.confirm, show_progress="hidden")
        removed = self.really.click(self.delete_document, self.chosen, self.progress, **indexing)
        removed.then(self.show, None, shown, show_progress="hidden").then(_count, self.changed, self.changed)
        app.load(self.show, None, shown, show_progress="hidden")

    def show(self) -> list[Any]:
        """The table, the choices, and nothing inspected."""
        index = self.context.index
        sizes = index.sizes() if index else {}
        rows = [(document, sizes.get(document.doc_id, 0)) for document in index.documents()] if index else []
        choices = [(document.title, document.doc_id) for document, _ in rows]
        closed = [gr.Button(interactive=False), "", gr.Row(visible=False)]
        adding = gr.Row(visible=self.context.user().may("reviewer"))
        return [documents_html(rows), adding, gr.Dropdown(choices, value=None), *closed]

    def index_files(self, files: list[str] | None, product: str) -> Iterator[tuple[str, Any]]:
        """Keep each upload in the workspace, index it there, and say for each file what came of it."""
        if not files:
            yield note_html("Choose one or more files first."), gr.skip()
            return
        notes: list[str] = []
        user = self.context.user("reviewer")
        uploads = [(Path(file), Path(file).name) for file in files]
        if len(uploads) > MOST_FILES:
            yield note_html(f"{len(uploads)} files at once; at most {MOST_FILES}, or one .zip."), gr.skip()
            return
        yield progress_html(f"{uploads[0][1]}: opening", 0, 0), gr.skip()
        for n, report in add_uploads(self.context, uploads, user, product):
            name = uploads[n][1]
            if isinstance(report, Progress):
                yield "".join(notes) + progress_html(f"{name}: {report.stage}", report.done, report.total), gr.skip()
            else:
                notes.append(end_html(name, report))
        yield "".join(notes), None

    def inspect(self, doc_id: str | None) -> tuple[str, Any, Any]:
        chunks = self.context.index.chunks(doc_id) if self.context.index and doc_id else []
        return chunks_html(chunks), gr.Button(interactive=bool(doc_id)), gr.Row(visible=False)

    def ask_to_delete(self, doc_id: str) -> tuple[str, Any]:
        """What goes and what stays."""
        index = self.context.index
        count = len(index.chunks(doc_id)) if index else 0
        text = f"Deletes “{doc_id}” and its {count} passages from the index. Recorded answers and corrections stay whole."
        return note_html(text), gr.Row(visible=True)

    def delete_document(self, doc_id: str) -> str:
        try:
            delete_upload(self.context, doc_id, self.context.user("reviewer"))
        except UserError as error:
            return note_html(str(error))
        return note_html(f"Deleted {doc_id}.")


def end_html(name: str, end: dict[str, Any] | UserError) -> str:
    """One line on what came of an upload."""
    if isinstance(end, UserError):
        return note_html(f"{name}: " + str(end).removeprefix(f"{name}: "), failed=True)
    return note_html(f"{name}: {outcome(end)}")


def outcome(summary: dict[str, Any]) -> str:
    """What indexing did."""
    counts = {done: summary[done] for done in ("added", "replaced", "unchanged", "removed") if summary[done]}
    documents = ", ".join(f"{number} document{'s' * (number > 1)} {done}" for done, number in counts.items())
    failed = "; ".join(f"{source}: {message}" for source, message in summary["failed"])
    return f"{documents} in {summary['seconds']:.1f} s" + (f", but not read: {failed}" if failed else "")


def _count(number: int) -> int:
    return number + 1
