"""The snapshot on disk: what is found, what a crash leaves, what is refused."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from emendo.records import UserError
from rag.embedder import HashEmbedder, load_embedder
from rag.index import open_index
from rag.ingest import delete_documents, ingest, reembed
from rag.lexical import codes, match_expression, query_terms
from rag.snapshot import MANIFEST, current_id, writer_lock

KETTLE = (
    "# Kettle K1\n\n## Descaling\n\nDescale every 3 months with citric acid.\n\n"
    "## Errors\n\nE-04: the lid is open. E05: no water.\n"
)
TOASTER = "# Toaster T2\n\n## Crumbs\n\nEmpty the crumb tray every week.\n"


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def manuals(tmp_path: Path) -> Path:
    folder = tmp_path / "manuals"
    folder.mkdir()
    (folder / "kettle.md").write_text(KETTLE)
    (folder / "toaster.md").write_text(TOASTER)
    return folder


@pytest.fixture
def directory(tmp_path: Path, manuals: Path, embedder: HashEmbedder) -> Path:
    ingest(tmp_path / "index", manuals, embedder)
    return tmp_path / "index"


def test_both_searches_find_the_passage(directory: Path, embedder: HashEmbedder) -> None:
    index = open_index(directory, embedder)
    by_words = index.lexical("descaling", 3)
    by_meaning = index.dense(embedder.encode(["Descale every 3 months with citric acid"])[0], 3)
    assert by_words[0][0] == by_meaning[0][0]
    (chunk,) = index.get_chunks([by_words[0][0]])
    assert "citric acid" in chunk.text and chunk.section[-1] == "Descaling" and chunk.source == "kettle.md"
    assert by_meaning == sorted(by_meaning, key=lambda pair: -pair[1])
    assert -1.0001 <= by_meaning[-1][1] <= by_meaning[0][1] <= 1.0001


def test_words_of_half_the_passages_rank_but_do_not_find(
    tmp_path: Path, embedder: HashEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n\n".join(f"## Part {n}\n\nUse the lever{' and the valve' * (n % 3 == 0)}, item{n} of ten." for n in range(30))
    (tmp_path / "pump.md").write_text(f"# Pump P3\n\n{text}\n")
    ingest(tmp_path / "index", tmp_path / "pump.md", embedder)
    question = "lever of the valve item7"
    exact = dict(open_index(tmp_path / "index", embedder).lexical(question, 50))
    monkeypatch.setattr("rag.index._COMMON", 20)
    monkeypatch.setattr("rag.index._ENOUGH", 5)
    index = open_index(tmp_path / "index", embedder)
    found = index.lexical(question, 50)
    assert len(exact) == 30 and len(found) == 11  # the passages with the valve or item 7
    assert dict(found) == {chunk_id: pytest.approx(exact[chunk_id]) for chunk_id, _ in found}
    assert [chunk_id for chunk_id, _ in found] == list(exact)[:11]
    assert len(index.lexical("lever", 50)) == 30  # there is no rarer word
    assert len(index.lexical(question, 50, ["pump"])) == 30


def test_a_filter_is_applied_before_the_best_are_taken(directory: Path, embedder: HashEmbedder) -> None:
    index = open_index(directory, embedder)
    vector = embedder.encode(["descale every 3 months"])[0]
    toaster = {chunk.chunk_id for chunk in index.chunks("toaster")}
    assert {chunk_id for chunk_id, _ in index.dense(vector, 1, ["toaster"])} <= toaster
    assert [chunk_id for chunk_id, _ in index.lexical("every", 1, ["toaster"])] == [index.chunks("toaster")[-1].chunk_id]
    assert index.dense(vector, 1, []) == [] and index.lexical("every", 1, []) == []


@pytest.mark.parametrize("question", ["What does E 04 mean?", "error e-04", "E04"])
def test_a_code_is_found_however_it_is_written(directory: Path, embedder: HashEmbedder, question: str) -> None:
    index = open_index(directory, embedder)
    best = index.lexical(question, 1)
    assert best and "lid is open" in index.get_chunks([best[0][0]])[0].text


@pytest.mark.parametrize("question", ['"', "* OR NEAR(", "title:x", "a AND NOT b", "?!", "-", "日本語 🙂", "x" * 5000])
def test_no_question_is_a_syntax_error(directory: Path, embedder: HashEmbedder, question: str) -> None:
    assert isinstance(open_index(directory, embedder).lexical(question, 5), list)


def test_query_terms_drop_words_that_only_ask() -> None:
    assert query_terms("How do I find the filter option?") == ["filter"]
    assert query_terms("what is this") == ["what", "is", "this"]
    assert match_expression(query_terms("E-04 and lid")) == '"04" OR "lid" OR "e04"'
    assert codes("USB 3.0, E.04, S10e") == ["usb3", "e04", "s10e", "30"]


def test_chunks_come_back_as_they_were_written(directory: Path, embedder: HashEmbedder) -> None:
    chunk = open_index(directory, embedder).chunks("kettle")[-1]
    assert chunk.header.endswith("Errors") and chunk.text.startswith("E-04: the lid is open.")
    assert isinstance(chunk.section, tuple) and isinstance(chunk.pages, tuple) and isinstance(chunk.boxes, tuple)


def test_an_open_index_outlives_its_snapshot(directory: Path, embedder: HashEmbedder) -> None:
    before = open_index(directory, embedder)
    delete_documents(directory, embedder, ["kettle"])
    assert not (directory / before.index_id).exists() and not before.is_current()
    assert before.lexical("descaling", 1) and before.chunks("kettle")
    after = open_index(directory, embedder)
    assert after.lexical("descaling", 5) == [] and after.chunks("kettle") == []
    assert [d.doc_id for d in after.documents()] == ["toaster"]
    assert len(after.dense(embedder.encode(["descale"])[0], 50)) == len(after.chunks("toaster"))


def test_what_cannot_be_opened_says_how_to_repair_it(directory: Path, tmp_path: Path, embedder: HashEmbedder) -> None:
    with pytest.raises(UserError, match="emendo index PATH"):
        open_index(tmp_path / "none", embedder)
    embedder.id = "other@1"
    with pytest.raises(UserError, match=r"other@1.*--reembed"):
        open_index(directory, embedder)
    manifest = directory / str(current_id(directory)) / MANIFEST
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(values | {"format_version": 99, "new_field": 1}))
    with pytest.raises(UserError, match="format 99"):
        open_index(directory, embedder)


def test_a_damaged_file_is_noticed(directory: Path, embedder: HashEmbedder) -> None:
    chunks = directory / str(current_id(directory)) / "chunks.sqlite"
    chunks.write_bytes(chunks.read_bytes()[:-100] + bytes(100))
    with pytest.raises(UserError, match="damaged"):
        open_index(directory, embedder)


def test_only_one_writes_at_a_time(directory: Path, manuals: Path, embedder: HashEmbedder) -> None:
    with writer_lock(directory), pytest.raises(UserError, match="another process is writing"):
        ingest(directory, manuals, embedder)
    assert open_index(directory, embedder).documents()


def test_reembedding_needs_no_source_files(directory: Path, manuals: Path) -> None:
    (manuals / "kettle.md").unlink()

    class Other(HashEmbedder):
        id = "hash-other@1"

    other = Other()
    chunks = reembed(directory, other)
    index = open_index(directory, other)
    assert chunks == index.manifest.chunks == sum(len(index.chunks(d.doc_id)) for d in index.documents())
    assert index.lexical("descaling", 1)


KILLED = """
import os, sys
from pathlib import Path
import rag.snapshot as snapshot
from rag.embedder import HashEmbedder
from rag.ingest import ingest

moment, root = sys.argv[1], Path(sys.argv[2])

def die(*_):
    os.kill(os.getpid(), 9)

class Dying(HashEmbedder):
    calls = 0
    def encode(self, texts):
        Dying.calls += 1
        if moment == "embedding" and Dying.calls > 1:
            die()
        return super().encode(texts)

if moment == "before the switch":
    snapshot.os.replace = die
elif moment == "before the rename":
    snapshot.Path.rename = die
elif moment == "after the switch":
    snapshot.remove_leftovers = die
ingest(root / "index", root / "manuals", Dying())
"""


@pytest.mark.parametrize("moment", ["embedding", "before the rename", "before the switch", "after the switch"])
def test_a_killed_writer_leaves_the_old_or_the_new(
    directory: Path, manuals: Path, tmp_path: Path, embedder: HashEmbedder, moment: str
) -> None:
    many = "".join(f"## Part {n}\n\nThe part number is {n}.\n\n" for n in range(300))
    (manuals / "parts.md").write_text(f"# Parts\n\n{many}")
    ended = subprocess.run([sys.executable, "-c", KILLED, moment, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    found = {d.doc_id for d in open_index(directory, embedder).documents()}
    assert found == ({"kettle", "toaster", "parts"} if moment == "after the switch" else {"kettle", "toaster"})

    embedded: list[str] = []

    class Counting(HashEmbedder):
        def encode(self, texts) -> np.ndarray:  # type: ignore[no-untyped-def]
            embedded.extend(texts)
            return super().encode(texts)

    summary = ingest(directory, manuals, Counting())
    assert summary.added == (0 if moment == "after the switch" else 1)
    assert len(embedded) == (300 - 256 if moment == "embedding" else 0), "vectors computed before the crash are used"
    folders = [path.name for path in directory.iterdir() if path.is_dir()]
    assert folders == [current_id(directory)]


def test_vectors_have_length_one_and_repeat(embedder: HashEmbedder) -> None:
    texts = ["descale the kettle", "", "日本語"]
    vectors = embedder.encode(texts)
    assert vectors.shape == (3, embedder.dimension) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors[:1], embedder.encode(texts[:1])) and embedder.encode([]).shape == (0, embedder.dimension)
    assert np.allclose(embedder.embed_query(texts[0]), embedder.embed_documents(texts)[0])


def test_an_embedder_that_is_not_there_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected minilm-manuals, minilm, hash"):
        load_embedder("bert")
    with pytest.raises(UserError, match=r"modules\.json"):
        load_embedder(f"st:{tmp_path}")


def test_minilm_is_the_official_model() -> None:
    embedder = load_embedder("minilm")
    assert (embedder.dimension, embedder.max_tokens) == (384, 256)
    assert embedder.count_tokens("Descale the kettle.") == 6
    assert "53aa51172d14" in embedder.id


def test_chunks_file_is_plain_sqlite(directory: Path) -> None:
    with sqlite3.connect(directory / str(current_id(directory)) / "chunks.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
