"""A whole bot over a one-page PDF and a Markdown manual, as small as it can be; the serve tests share it."""

from __future__ import annotations

from pathlib import Path

from langchain_core.language_models import BaseChatModel

from emendo.chat_models import load_chat_model
from emendo.config import Workspace
from emendo.store import Store
from rag.answer import Answerer
from rag.embedder import load_embedder
from rag.index import open_index
from rag.ingest import ingest
from rag.retrieve import Retriever
from serve.session import ServeContext, ServeSettings

MARKDOWN = """# Lumo lamp

## Replacing the bulb

1. Switch the lamp off and let it cool for 15 minutes.
2. Turn the bulb to the left.

## Cleaning

Wipe the shade with a dry cloth.
"""
PDF_TEXT = "The battery of the kettle lasts 40 hours."


def write_manuals(folder: Path) -> None:
    """lamp.md and kettle.pdf."""
    from reportlab.pdfgen.canvas import Canvas

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lamp.md").write_text(MARKDOWN, encoding="utf-8")
    canvas = Canvas(str(folder / "kettle.pdf"), pagesize=(400, 300))
    canvas.setFont("Helvetica-Bold", 20)
    canvas.drawString(40, 240, "Battery")
    canvas.setFont("Helvetica", 12)
    canvas.drawString(40, 200, PDF_TEXT)
    canvas.showPage()
    canvas.drawString(40, 200, "This page is about descaling.")
    canvas.save()


def make_context(
    root: Path, model: BaseChatModel | None = None, manuals: bool = True, settings: ServeSettings | None = None
) -> ServeContext:
    """A context in `root`; without manuals it is the state of a first run."""
    root.mkdir(parents=True, exist_ok=True)
    workspace, embedder = Workspace(root), load_embedder("hash")
    retriever = None
    if manuals:
        write_manuals(workspace.sources)
        ingest(workspace.index, workspace.sources, embedder)
        retriever = Retriever(open_index(workspace.index, embedder), embedder)
    answerer = Answerer(retriever, model or load_chat_model("quote"))
    store = Store(workspace.database)
    return ServeContext(
        store,
        answerer,
        workspace.index,
        embedder,
        workspace,
        model_label="Quotes",
        embedder_spec="hash",
        settings=settings or ServeSettings(),
    )
