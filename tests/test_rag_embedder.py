"""The bundled embedder computes what sentence-transformers computes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from rag import bert
from rag.embedder import ADAPTER, SentenceEmbedder, load_embedder

TEXTS = [
    "Descale the kettle every 3 months.",
    "",
    "E-04",
    "Schließen Sie das Gerät an. 日本語 🙂",
    "word " * 400,
    "Use an earthed socket. " * 20,
]


@pytest.fixture(scope="module")
def embedder() -> SentenceEmbedder:
    found = load_embedder("minilm")
    assert isinstance(found, SentenceEmbedder)
    return found


def test_vectors_are_those_of_sentence_transformers(embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(embedder.folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    monkeypatch.setattr(bert, "has_native_bfloat16", lambda: False)
    exact = bert.BertEncoder(embedder.folder, embedder.max_tokens).encode(TEXTS)
    np.testing.assert_allclose(exact, reference, atol=2e-6)
    shipped = embedder.encode(TEXTS)
    assert (shipped * reference).sum(axis=1).min() > 0.9995
    np.testing.assert_allclose(np.linalg.norm(shipped, axis=1), 1.0, atol=1e-5)


def test_the_bundled_adapter_changes_vectors_as_peft_does(embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import PeftModel
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(embedder.folder), device="cpu")
    reference[0].auto_model = PeftModel.from_pretrained(reference[0].auto_model, ADAPTER).merge_and_unload()
    monkeypatch.setattr(bert, "has_native_bfloat16", lambda: False)
    adapted = load_embedder("minilm-manuals")
    np.testing.assert_allclose(adapted.encode(TEXTS), reference.encode(TEXTS, normalize_embeddings=True), atol=2e-5)
    assert (adapted.encode(TEXTS) * embedder.encode(TEXTS)).sum(axis=1).max() < 0.99
    assert adapted.id != embedder.id


def test_a_text_has_its_vector_whatever_stands_beside_it(embedder: SentenceEmbedder) -> None:
    together = embedder.encode(TEXTS)
    alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)  # else an answer could depend on what was asked before
    assert embedder.encode([]).shape == (0, 384)


def test_words_keep_their_vectors_when_a_text_is_read_again(embedder: SentenceEmbedder) -> None:
    texts = ["Descale it.", "", "descale it every 3 months"]
    first, nothing, last = embedder.word_vectors(texts) or []
    assert (first.shape, nothing.shape, last.shape) == ((4, 384), (0, 384), (7, 384))  # des cal e it; every 3 months
    assert all((row == last).all(axis=1).any() for row in first)
    for again, before in zip(embedder.word_vectors(texts[::-1]) or [], (last, nothing, first), strict=True):
        np.testing.assert_array_equal(again, before)


def test_only_what_bert_computes_is_taken_from_it(embedder: SentenceEmbedder, tmp_path: Path) -> None:
    assert bert.can_load(embedder.folder)
    for file, change in (("config.json", {"model_type": "mpnet"}), ("1_Pooling/config.json", {"pooling_mode_cls_token": True})):
        folder = tmp_path / file.replace("/", "-")
        shutil.copytree(embedder.folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
        assert not bert.can_load(folder)


def test_embedding_loads_neither_transformers_nor_sentence_transformers() -> None:
    code = (
        "import sys\nfrom rag.embedder import load_embedder\nload_embedder('minilm').encode(['x'])\n"
        "assert not {'transformers', 'sentence_transformers', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
