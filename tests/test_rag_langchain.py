"""The index inside LangChain programs: LangChain's own standard suites, and what they do not ask."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

from emendo.records import UserError
from rag.embedder import HashEmbedder
from rag.index import open_index
from rag.ingest import ingest, reembed
from rag.langchain_index import EmendoRetriever, EmendoVectorStore
from rag.retrieve import Retriever

KETTLE = """# Kettle K1

## Descaling

Descale every 3 months with citric acid.

## Filter

Rinse the filter once a week.

## Errors

E-04: the lid is open.
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "kettle.md").write_text(KETTLE)
    ingest(tmp_path / "workspace" / "index", tmp_path / "kettle.md", HashEmbedder())
    return tmp_path / "workspace" / "index"


class TestVectorStore(VectorStoreIntegrationTests):
    """All of the suite. Our own embedder takes the place of its random one: an index opens with the embedder that made it."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> EmendoVectorStore:
        return EmendoVectorStore(tmp_path / "index", HashEmbedder())


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def indexed(self, directory: Path) -> None:
        self.searcher = Retriever(open_index(directory, HashEmbedder()), HashEmbedder())

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return EmendoRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"searcher": self.searcher}

    @property
    def retriever_query_example(self) -> str:
        return "How often do I descale and rinse, and what is E-04?"


def test_added_texts_and_manuals_are_searched_together_and_survive_a_reopening(directory: Path) -> None:
    store = EmendoVectorStore(directory, HashEmbedder())
    store.add_texts(["The warranty lasts 24 months."], [{"title": "Support note", "case": 7}], ids=["note-1"])
    again = EmendoVectorStore(directory, HashEmbedder())
    [(note, cosine)] = again.similarity_search_with_score("The warranty lasts 24 months.", k=1)
    assert (note.id, note.metadata) == ("note-1", {"title": "Support note", "case": 7}) and cosine > 0.8
    [passage] = again.similarity_search("descale with citric acid", k=1, doc_ids=["kettle"])
    assert passage.metadata["section"] == "Kettle K1 > Descaling" and passage.metadata["source"] == "kettle.md"
    assert [
        hit.chunk.doc_id for hit in Retriever(open_index(directory, HashEmbedder()), HashEmbedder()).search("warranty", 1)
    ] == ["note-1"]
    reembed(directory, HashEmbedder())
    assert again.get_by_ids(["note-1"]) == [note]
    again.delete(["note-1"])
    assert again.get_by_ids(["note-1"]) == [] and "note-1" not in {d.id for d in store.similarity_search("warranty", k=9)}


def test_indexing_a_folder_again_keeps_added_texts(directory: Path, tmp_path: Path) -> None:
    EmendoVectorStore(directory, HashEmbedder()).add_texts(["The warranty lasts 24 months."], ids=["note-1"])
    (tmp_path / "kettle.md").write_text(KETTLE + "\n## Noise\n\nIt hums.\n")
    ingest(directory, tmp_path / "kettle.md", HashEmbedder())
    assert {document.doc_id for document in open_index(directory, HashEmbedder()).documents()} == {"kettle", "note-1"}


def test_a_passage_of_a_manual_is_not_deleted_alone_nor_overwritten(directory: Path) -> None:
    store = EmendoVectorStore(directory, HashEmbedder())
    [passage] = store.similarity_search("citric acid", k=1)
    with pytest.raises(UserError, match="emendo delete kettle"):
        store.delete([str(passage.id)])
    with pytest.raises(UserError, match="'kettle' is a manual's"):
        store.add_texts(["x"], ids=["kettle"])
    with pytest.raises(UserError, match="cannot be kept"):
        store.add_texts(["x"], [{"when": object()}])
    assert len(store.similarity_search("citric acid", k=9)) == 3


def test_a_foreign_embedding_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="load_embedder"):
        EmendoVectorStore.from_texts(["x"], DeterministicFakeEmbedding(size=6), directory=str(tmp_path))
    store = EmendoVectorStore.from_texts(["hello world", "goodbye"], HashEmbedder(), directory=str(tmp_path / "index"))
    found = store.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.9}).invoke(
        "hello world"
    )
    assert [document.page_content for document in found] == ["hello world"]


def test_the_readme_chain_runs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [snippet] = [
        block for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S) if "langchain" in block
    ]
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    monkeypatch.chdir(directory.parent.parent)
    names: dict[str, Any] = {"model": GenericFakeChatModel(messages=iter([AIMessage("Every 3 months.")]))}
    exec(snippet, names)
    assert names["answer"] == "Every 3 months."
    found = names["retriever"].invoke("How often do I descale?", k=1)[0]
    assert "citric acid" in found.page_content and json.dumps(found.metadata)
