"""Bringing an index up to date: what is done again, what is not, and what a bad file costs."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from emendo.records import UserError
from rag.chunking import ChunkSettings
from rag.embedder import HashEmbedder
from rag.index import open_index
from rag.ingest import delete_documents, ingest
from rag.snapshot import current_id


class CountingEmbedder(HashEmbedder):
    """Remembers what it was asked to embed."""

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def encode(self, texts) -> np.ndarray:  # type: ignore[no-untyped-def]
        self.embedded += texts
        return super().encode(texts)


@pytest.fixture
def embedder() -> CountingEmbedder:
    return CountingEmbedder()


@pytest.fixture
def manuals(tmp_path: Path) -> Path:
    folder = tmp_path / "manuals"
    folder.mkdir()
    (folder / "kettle.md").write_text("# Kettle\n\n## Descaling\n\nUse citric acid.\n\n## Power\n\nThe base draws 2200 W.\n")
    (folder / "toaster.md").write_text("# Toaster\n\n## Crumbs\n\nEmpty the tray every week.\n")
    return folder


def titles(directory: Path, embedder: HashEmbedder) -> dict[str, str]:
    return {d.doc_id: d.title for d in open_index(directory, embedder).documents()}


def test_a_second_run_does_nothing(tmp_path: Path, manuals: Path, embedder: CountingEmbedder) -> None:
    first = ingest(tmp_path / "index", manuals, embedder)
    live = current_id(tmp_path / "index")
    embedder.embedded.clear()
    second = ingest(tmp_path / "index", manuals, embedder)
    assert (first.added, first.unchanged, second.added, second.unchanged) == (2, 0, 0, 2)
    assert embedder.embedded == [] and current_id(tmp_path / "index") == live and first.chunks == second.chunks


def test_a_changed_file_replaces_its_document_and_embeds_only_new_text(
    tmp_path: Path, manuals: Path, embedder: CountingEmbedder
) -> None:
    ingest(tmp_path / "index", manuals, embedder)
    embedder.embedded.clear()
    kettle = manuals / "kettle.md"
    kettle.write_text(kettle.read_text().replace("2200 W", "1800 W"))
    summary = ingest(tmp_path / "index", manuals, embedder)
    assert (summary.added, summary.replaced, summary.unchanged) == (0, 1, 1)
    assert len(embedder.embedded) == 1 and "1800 W" in embedder.embedded[0]
    index = open_index(tmp_path / "index", embedder)
    assert index.lexical("2200", 5) == [] and len(index.lexical("1800", 5)) == 1


def test_a_folder_is_mirrored(tmp_path: Path, manuals: Path, embedder: CountingEmbedder) -> None:
    (tmp_path / "other.md").write_text("# Lamp\n\nTurn the switch.\n")
    ingest(tmp_path / "index", manuals, embedder)
    ingest(tmp_path / "index", tmp_path / "other.md", embedder)
    (manuals / "toaster.md").unlink()
    assert ingest(tmp_path / "index", manuals, embedder).removed == 1
    assert titles(tmp_path / "index", embedder) == {"kettle": "Kettle", "other": "Lamp"}


def test_two_files_of_one_name_are_two_documents(tmp_path: Path, embedder: CountingEmbedder) -> None:
    for product in ("fan", "heater"):
        (tmp_path / product).mkdir()
        (tmp_path / product / "manual.md").write_text(f"# {product.title()}\n\nThe {product} hums.\n")
        ingest(tmp_path / "index", tmp_path / product / "manual.md", embedder)
    assert titles(tmp_path / "index", embedder) == {"manual": "Fan", "manual-2": "Heater"}
    assert ingest(tmp_path / "index", tmp_path / "heater" / "manual.md", embedder).unchanged == 1
    assert {chunk.doc_id for chunk in open_index(tmp_path / "index", embedder).chunks("manual-2")} == {"manual-2"}


def test_a_copy_is_indexed_once(tmp_path: Path, manuals: Path, embedder: CountingEmbedder) -> None:
    shutil.copy(manuals / "kettle.md", manuals / "kettle copy.md")
    summary = ingest(tmp_path / "index", manuals, embedder)
    assert (summary.added, summary.unchanged) == (2, 1)
    assert ingest(tmp_path / "index", manuals, embedder).unchanged == 3


def test_a_bad_file_is_named_and_costs_only_itself(tmp_path: Path, manuals: Path, embedder: CountingEmbedder) -> None:
    ingest(tmp_path / "index", manuals, embedder)
    (manuals / "broken.pdf").write_bytes(b"%PDF-1.7 not really")
    (manuals / "kettle.md").write_text("")
    (manuals / "lamp.md").write_text("# Lamp\n\nTurn the switch.\n")
    summary = ingest(tmp_path / "index", manuals, embedder)
    assert [source for source, _ in summary.failed] == ["broken.pdf", "kettle.md"]
    assert summary.added == 1 and summary.removed == 0
    assert "Kettle" in titles(tmp_path / "index", embedder).values(), "what was read before is kept"


def test_nothing_but_a_bad_file_is_an_error(tmp_path: Path, embedder: CountingEmbedder) -> None:
    bad = tmp_path / "broken.pdf"
    bad.write_bytes(b"not a pdf")
    with pytest.raises(UserError, match=r"broken\.pdf"):
        ingest(tmp_path / "index", bad, embedder)
    assert current_id(tmp_path / "index") is None
    assert [path.name for path in (tmp_path / "index").iterdir() if path.is_dir()] == []


def test_an_archive_and_a_product(tmp_path: Path, manuals: Path, embedder: CountingEmbedder) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(manuals / "kettle.md", "docs/kettle.md")
    assert ingest(tmp_path / "index", archive, embedder, product="K1").added == 1
    assert ingest(tmp_path / "index", archive, embedder).unchanged == 1, "a product once given stays"
    assert ingest(tmp_path / "index", archive, embedder, product="K1 Pro").replaced == 1
    assert [d.product for d in open_index(tmp_path / "index", embedder).documents()] == ["K1 Pro"]


def test_other_chunk_settings_make_the_chunks_anew(tmp_path: Path, manuals: Path, embedder: CountingEmbedder) -> None:
    (manuals / "long.md").write_text("# Long\n\n" + "The lamp blinks twice and stops. " * 60)
    before = ingest(tmp_path / "index", manuals, embedder)
    after = ingest(tmp_path / "index", manuals, embedder, settings=ChunkSettings(max_tokens=80))
    assert after.replaced == 3 and after.chunks > before.chunks
    chunks = open_index(tmp_path / "index", embedder).chunks("long")
    assert max(embedder.count_tokens(f"{c.header}\n{c.text}") for c in chunks) <= 80


def test_deleting_names_what_is_unknown(tmp_path: Path, manuals: Path, embedder: CountingEmbedder) -> None:
    with pytest.raises(UserError, match="holds: nothing"):
        delete_documents(tmp_path / "index", embedder, ["kettle"])
    ingest(tmp_path / "index", manuals, embedder)
    with pytest.raises(UserError, match="no document lamp"):
        delete_documents(tmp_path / "index", embedder, ["kettle", "lamp"])
    assert set(titles(tmp_path / "index", embedder)) == {"kettle", "toaster"}
    assert delete_documents(tmp_path / "index", embedder, ["kettle", "toaster"]) == 2
    assert titles(tmp_path / "index", embedder) == {} and open_index(tmp_path / "index", embedder).lexical("acid", 3) == []


def test_progress_ends_where_it_said(tmp_path: Path, manuals: Path, embedder: CountingEmbedder) -> None:
    seen: list[tuple[str, int, int]] = []
    ingest(tmp_path / "index", manuals, embedder, progress=lambda doing, done, total: seen.append((doing, done, total)))
    assert [step for step in seen if step[0] == "parsing"] == [("parsing", 1, 2), ("parsing", 2, 2)]
    assert seen[-1][0] == "embedding" and seen[-1][1] == seen[-1][2] == 3
