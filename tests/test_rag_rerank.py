"""What may be added to the search: a cross-encoder, more diverse passages, the question of a conversation as it was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emendo.records import UserError
from rag.embedder import HashEmbedder
from rag.index import open_index
from rag.ingest import ingest
from rag.rerank import CrossEncoderRanker
from rag.retrieve import Retriever, RetrieveSettings

MANUAL = """# Kettle K1

## Descaling

Descale the kettle every 3 months with citric acid.

## Descaling in short

Descale the kettle every 3 months with mild citric acid.

## Descaling the filter

Descale the filter often, like the kettle, with citric acid.

## Descaling tips

Descale the kettle more often where the water is hard.

## Warranty

The warranty lasts 2 years. Keep the receipt.
"""
ASKED = "how often do I descale the kettle with citric acid"


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("kettle")
    (folder / "kettle.md").write_text(MANUAL, encoding="utf-8")
    embedder = HashEmbedder()
    ingest(folder / "index", folder / "kettle.md", embedder)
    return Retriever(open_index(folder / "index", embedder), embedder)


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained one-layer cross-encoder that knows the words of the manual."""
    return _cross_encoder(tmp_path_factory.mktemp("cross"), outputs=1)


def _cross_encoder(folder: Path, outputs: int) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = sorted({word.strip(".#").lower() for word in MANUAL.split()} - {""})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(1)
    size = {"vocab_size": len(words) + 5, "hidden_size": 16, "intermediate_size": 16, "num_labels": outputs}
    config = BertConfig(**size, num_hidden_layers=1, num_attention_heads=2, initializer_range=1.0)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def with_settings(retriever: Retriever, **changes: object) -> Retriever:
    return Retriever(retriever.index, retriever.embedder, replace(RetrieveSettings(), **changes))  # type: ignore[arg-type]


def test_a_cross_encoder_orders_the_best_passages(retriever: Retriever, cross_encoder: Path) -> None:
    before = retriever.search(ASKED)
    after = with_settings(retriever, rerank=f"hf:{cross_encoder}").search(ASKED)
    found = [hit.stages["rerank_score"] for hit in after]
    assert found == sorted(found, reverse=True)
    assert {hit.chunk.chunk_id for hit in after} == {hit.chunk.chunk_id for hit in before}
    assert [hit.score for hit in after] == [hit.score for hit in before], "the scores stay, whose they are changes"
    alone = CrossEncoderRanker(f"hf:{cross_encoder}")
    assert found == pytest.approx(alone.scores(ASKED, [f"{hit.chunk.header}\n{hit.chunk.text}" for hit in after]), abs=1e-4)
    assert alone.scores(ASKED, []) == []


def test_only_the_best_are_reranked(retriever: Retriever, cross_encoder: Path) -> None:
    hits = with_settings(retriever, rerank=f"hf:{cross_encoder}", reranked=2).search(ASKED)
    assert ["rerank_score" in hit.stages for hit in hits] == [True, True, *[False] * (len(hits) - 2)]


def test_a_cross_encoder_that_is_none_says_what_to_do(retriever: Retriever, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected hf:"):
        with_settings(retriever, rerank="bge")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"--set retrieve\.rerank="):
        with_settings(retriever, rerank=f"hf:{tmp_path / 'empty'}").search(ASKED)
    (tmp_path / "two").mkdir()
    two = _cross_encoder(tmp_path / "two", outputs=2)
    with pytest.raises(UserError, match="gives 2 numbers; expected one"):
        with_settings(retriever, rerank=f"hf:{two}").search(ASKED)


def test_diversity_puts_what_is_new_before_what_was_said(retriever: Retriever) -> None:
    usual = [hit.chunk.section[-1] for hit in retriever.search(ASKED, k=3)]
    diverse = [hit.chunk.section[-1] for hit in with_settings(retriever, diversity=3.0).search(ASKED, k=3)]
    assert diverse[0] == usual[0] and "Descaling in short" in usual and "Descaling in short" not in diverse
    assert len(diverse) == 3


def test_the_question_as_it_was_asked_is_searched_too(retriever: Retriever) -> None:
    asked = "and the warranty?"
    standalone = f"{ASKED} {asked}"
    assert "Warranty" not in [hit.chunk.section[-1] for hit in retriever.search(standalone, k=3)]
    hits = retriever.search_turn(standalone, asked, k=4)
    assert "Warranty" in [hit.chunk.section[-1] for hit in hits] and hits[0].chunk.section[-1] == "Descaling the filter"
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert retriever.search_turn(ASKED, ASKED, k=4) == retriever.search(ASKED, k=4)
    assert "Warranty" in [hit.chunk.section[-1] for hit in retriever.passages(asked, k=4, standalone=standalone)]
