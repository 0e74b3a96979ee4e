"""A backup taken while the workspace is in use comes back whole at another place; damaged ones are refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from small_bot import make_context

from emendo.backup import MANIFEST, read_backup, write_backup
from emendo.cli import main
from emendo.config import Workspace
from emendo.records import UserError
from emendo.store import Store
from rag.index import open_index

QUESTION = "How long does the battery of the kettle last?"


def new_workspace(root: Path) -> Workspace:
    root.mkdir()
    return Workspace(root)


def test_a_workspace_in_use_is_saved_and_answers_at_another_place(tmp_path: Path) -> None:
    context = make_context(tmp_path / "first")
    answer = context.answerer.answer(QUESTION)
    conversation = context.store.create_conversation("Kettle")
    context.store.save_answer(answer, conversation)  # the store stays open: its last rows are in the write-ahead log
    assert main(["--workspace", str(tmp_path / "first"), "backup", str(tmp_path / "b.zip")]) == 0
    assert main(["--workspace", str(tmp_path / "second"), "restore", str(tmp_path / "b.zip")]) == 0
    (tmp_path / "first").rename(tmp_path / "gone")
    store = Store(tmp_path / "second" / "emendo.db")
    assert store.turns(conversation) == [answer]
    index = open_index(tmp_path / "second" / "index", context.embedder)
    assert {document.doc_id for document in index.documents()} == {"kettle", "lamp"}
    restored = make_context(tmp_path / "second", manuals=False)
    restored.refresh()
    assert restored.source_file("kettle") == tmp_path / "second" / "sources" / "kettle.pdf", "its pages can be shown"
    assert restored.answerer.answer(QUESTION).text == answer.text


def test_a_backup_never_overwrites_and_a_restore_never_mixes(tmp_path: Path) -> None:
    make_context(tmp_path / "first", manuals=False)
    (tmp_path / "b.zip").write_text("mine")
    assert main(["--workspace", str(tmp_path / "first"), "backup", str(tmp_path / "b.zip")]) == 2
    assert (tmp_path / "b.zip").read_text() == "mine"
    assert main(["--workspace", str(tmp_path / "first"), "backup", str(tmp_path / "good.zip")]) == 0
    with pytest.raises(UserError, match="is not empty"):
        read_backup(tmp_path / "good.zip", Workspace(tmp_path / "first"))
    assert main(["--workspace", str(tmp_path / "first"), "backup", str(tmp_path / "no" / "such.zip")]) == 2


@pytest.mark.parametrize("fault", ["cut", "bad disk", "changed", "outside", "no zip", "no manifest"])
def test_a_damaged_or_hostile_backup_restores_nothing(tmp_path: Path, fault: str) -> None:
    context = make_context(tmp_path / "first", manuals=False)
    path = tmp_path / "b.zip"
    write_backup(context.workspace, context.store, path)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif fault == "bad disk":
        data = path.read_bytes()
        path.write_bytes(data[:60] + bytes(40) + data[100:])
    elif fault == "no zip":
        path.write_text("these are my notes")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            name = {"outside": "../outside.txt"}.get(fault, "emendo.toml")
            archive.writestr(name, "[index]")
            if fault != "no manifest":
                archive.writestr(MANIFEST, json.dumps({"files": {name: "0" * 64}}))
    workspace = new_workspace(tmp_path / "second")
    with pytest.raises(UserError, match=r"damaged|not a whole backup"):
        read_backup(path, workspace)
    assert list(workspace.root.iterdir()) == []
    assert not (tmp_path / "outside.txt").exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".restore")] == []
