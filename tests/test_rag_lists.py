"""`emendo index --lists N`: approximate vector search for very large collections, by an explicit setting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emendo.cli import main
from emendo.records import Chunk, Document, UserError
from rag.embedder import HashEmbedder
from rag.index import Origin, SnapshotBuilder, open_index
from rag.ingest import delete_documents, use_lists
from rag.snapshot import new_snapshot, writer_lock

EMBEDDER = HashEmbedder()
SIZES = {"large": 600, "small": 12}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two documents of random vectors."""
    generator = np.random.default_rng(0)
    directory = tmp_path / "workspace" / "index"
    with writer_lock(directory), new_snapshot(directory) as folder:
        builder = SnapshotBuilder(folder, EMBEDDER, None)
        for doc, count in SIZES.items():
            chunks = [Chunk(f"{doc}-{n}", doc, doc, doc, (), f"text {n}", doc, position=n) for n in range(count)]
            vectors = generator.normal(size=(count, EMBEDDER.dimension)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            builder.add(Origin(Document(doc, doc, doc, doc, 0, doc, ""), doc, ""), chunks, vectors)
        builder.publish({})
    return directory


def test_lists_find_the_nearest_and_change_nothing_else(directory: Path) -> None:
    exact = open_index(directory, EMBEDDER)
    vectors = [exact._vectors.reconstruct(row) for row in (1, 300, 605)]
    before = [exact.dense(vector, 3) for vector in vectors]
    assert use_lists(directory, EMBEDDER, 15) == sum(SIZES.values())
    listed = open_index(directory, EMBEDDER)
    for vector, expected in zip(vectors, before, strict=True):
        assert listed.dense(vector, 3)[0] == pytest.approx(expected[0])
        assert len(listed.dense(vector, 12, ["small"])) == 12, "a filter finds all of a small product"
    assert listed.dense(vectors[0], 12, ["small"]) == [
        (name, pytest.approx(score)) for name, score in exact.dense(vectors[0], 12, ["small"])
    ]
    delete_documents(directory, EMBEDDER, ["large"])
    left = open_index(directory, EMBEDDER).dense(vectors[0], 50, ["small"])
    assert len(left) == 12
    use_lists(directory, EMBEDDER, 0)
    assert len(open_index(directory, EMBEDDER).dense(vectors[0], 50)) == 12


def test_too_many_lists_are_refused(directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="15 at most"):
        use_lists(directory, EMBEDDER, 16)
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    monkeypatch.setenv("EMENDO_WORKSPACE", str(directory.parent))
    assert main(["index", "--lists", "4"]) == 0
    assert "612 passages are searched in 4 lists" in capsys.readouterr().out
