"""What the pages share: the live index, the promoted model, the kept files."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import pytest
from small_bot import make_context

from emendo.accounts import LOCAL
from emendo.chat_models import load_chat_model
from emendo.cli import main
from emendo.records import UserError
from rag.embedder import HashEmbedder
from rag.index import open_index
from rag.ingest import ingest
from serve.app import launch, serve
from serve.ingest_job import Progress, run_ingest
from serve.session import ServeContext
from serve.uploads import add_uploads


def test_a_first_run_has_no_index_and_finds_one_made_by_another_process(tmp_path: Path) -> None:
    context = make_context(tmp_path, manuals=False)
    assert context.index is None
    assert context.documents() == []
    (tmp_path / "lamp.md").write_text("# Lamp\n\nIt needs 12 volts.\n", encoding="utf-8")
    *progress, (_, summary) = run_ingest(context.index_directory, [tmp_path / "lamp.md"], "hash", "Lumo")
    assert all(isinstance(report, Progress) for _, report in progress)
    assert isinstance(summary, dict)
    assert summary["added"] == 1
    context.refresh()
    assert context.products() == ["Lumo"]
    assert "12 volts" in context.answerer.answer("How many volts?").text


def test_uploads_are_read_with_the_ocr_languages_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "lamp.md").write_text("# Lamp\n\nIt needs 12 volts.\n", encoding="utf-8")
    *_, (_, end) = run_ingest(tmp_path / "index", [tmp_path / "lamp.md"], "hash", ocr="tlh")
    assert "tesseract-ocr" in str(end), "it has no Klingon, or is not installed"


def test_uploads_get_the_contexts_that_the_settings_ask_for(tmp_path: Path) -> None:
    (tmp_path / "lamp.md").write_text("# Lamp\n\nIt needs 12 volts.\n", encoding="utf-8")
    *_, (_, summary) = run_ingest(tmp_path / "index", [tmp_path / "lamp.md"], "hash", writer="scripted:")
    assert isinstance(summary, dict)
    assert summary["added"] == 1
    (chunk,) = open_index(tmp_path / "index", HashEmbedder()).chunks("lamp")
    assert chunk.context == "The manual does not say.", "what the scripted model says of everything"
    *_, (_, end) = run_ingest(tmp_path / "index", [tmp_path / "lamp.md"], "hash", writer="quote")
    assert "only copies" in str(end)


def test_uploads_are_embedded_by_the_environments_embedder_as_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[ServeContext] = []
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    monkeypatch.setattr("serve.app.serve", lambda context, **_: served.append(context))  # would not return
    assert main(["--workspace", str(tmp_path / "workspace"), "serve"]) == 0
    (context,) = served
    (tmp_path / "lamp.md").write_text("# Lamp\n\nIt needs 12 volts.\n", encoding="utf-8")
    *_, (_, end) = add_uploads(context, [(tmp_path / "lamp.md", "lamp.md")], LOCAL)
    assert isinstance(end, dict)
    assert context.index is not None
    assert context.index.manifest.embedder_id == context.embedder.id


def test_refresh_leaves_an_unchanged_index_open_and_follows_a_new_one(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    first = context.answerer
    context.refresh()
    assert context.answerer is first
    (context.workspace.sources / "pan.md").write_text("# Pan\n\nNever heat it dry.\n", encoding="utf-8")
    ingest(context.index_directory, context.workspace.sources, context.embedder)
    context.refresh()
    assert context.answerer is not first
    assert context.answerer.model is first.model
    assert len(context.documents()) == 3


def test_only_a_changed_promotion_loads_a_model(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    asked: list[str] = []

    def load(adapter_id: str):  # type: ignore[no-untyped-def]
        asked.append(adapter_id)
        return load_chat_model("scripted:")

    context.load_model = load
    context.reload()
    assert asked == []
    context.store.promote("adapter-7", "better")
    context.reload()
    context.reload()
    assert asked == ["adapter-7"]
    assert context.answerer.model_id == "scripted"


def test_a_context_made_after_a_promotion_keeps_its_model(tmp_path: Path) -> None:
    first = make_context(tmp_path)
    first.store.promote("adapter-7", "better")
    parts = (first.store, first.answerer, first.index_directory, first.embedder, first.workspace)
    context = ServeContext(*parts, load_model=lambda adapter_id: load_chat_model("scripted:"))
    context.reload()
    assert context.answerer.model_id == "quote"


def test_source_files_are_found_by_document_and_missed_when_gone(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    kettle = next(document for document in context.documents() if document.source.endswith(".pdf"))
    path = context.source_file(kettle.doc_id)
    assert path == context.workspace.sources / "kettle.pdf"
    assert context.pages_of(kettle.doc_id) == 2
    path.unlink()
    assert context.source_file(kettle.doc_id) is None
    assert context.source_file("no-such-document") is None


def test_serving_to_the_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no users to sign in"):
        serve(make_context(tmp_path, manuals=False), host="0.0.0.0")


def test_a_taken_port_names_the_option_that_repairs_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="--port"):
            serve(make_context(tmp_path, manuals=False), port=taken.getsockname()[1])


def test_open_pages_that_the_end_of_the_server_cuts_off_are_no_news(tmp_path: Path) -> None:
    launch(make_context(tmp_path), port=0).close()
    told = logging.getLogger("uvicorn.error")

    def record(error: BaseException) -> logging.LogRecord:
        return told.makeRecord(told.name, logging.ERROR, "", 0, "Exception in ASGI application", (), (type(error), error, None))

    assert not told.filter(record(asyncio.CancelledError("Task cancelled, timeout graceful shutdown exceeded")))
    assert told.filter(record(ValueError("a fault")))
