"""tune --retriever and rollback --retriever: the embedder adapted to the manuals and to what was corrected."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emendo.commands import open_store, opener
from emendo.files import write_whole
from emendo.records import UserError
from emendo.terminal import note, progress_bar, say, say_json

if TYPE_CHECKING:
    from emendo.config import Workspace
    from rag.embedder import Embedder
    from rag.retrieve import Retriever
    from sft.retriever import Judgement, Pair


def tune_embedder(args: argparse.Namespace) -> int:
    """Exit code 0 when the adapted embedder serves from now on, 1 when it was not better and nothing changed."""
    from rag.ingest import reembed
    from sft.retriever import RetrieverSettings, build_pairs, tune_retriever

    opened = opener(args)
    _check_environment()
    retriever = opened.retriever()
    rows = [correction for _, correction in open_store(args).corrections()]
    settings = opened.settings(RetrieverSettings, "retriever")
    chunks = [c for document in retriever.index.documents() for c in retriever.index.chunks(document.doc_id)]
    pairs = build_pairs(chunks, rows, settings)
    note(f"{len(pairs.train)} pairs to learn, {len(pairs.held_out)} held-out {pairs.held_out[0].kind}s to judge on")
    folder = opened.workspace.root / "embedders"
    with progress_bar() as report:

        def judge(before: Embedder, after: Embedder, held_out: Sequence[Pair]) -> Judgement:
            return _judge(retriever, before, after, held_out, report)

        card = tune_retriever(pairs, rows, folder, judge, settings, report)
        if card.kept:
            spec = f"st:{folder / card.embedder_id}"
            _write_embedder(opened.workspace, spec)
            reembed(opened.workspace.index, _load(spec), progress=report)
    if args.json:
        say_json(card)
        return 0 if card.kept else 1
    judged = card.judgement
    say(f"{judged.metric}, {judged.queries} held-out queries: {judged.before:.3f} -> {judged.after:.3f} (p {judged.p:.2g})")
    say(
        f"embedder {card.embedder_id} now serves; `emendo rollback --retriever` undoes it"
        if card.kept
        else "not better beyond chance: the embedder stays as it was"
    )
    return 0 if card.kept else 1


def rollback_embedder(args: argparse.Namespace) -> int:
    from rag.assemble import IndexSettings
    from rag.embedder import DEFAULT
    from rag.ingest import reembed

    opened = opener(args)
    _check_environment()
    if opened.settings(IndexSettings, "index").embedder == DEFAULT:
        raise UserError("nothing to roll back: the stock embedder serves")
    _write_embedder(opened.workspace, DEFAULT)
    with progress_bar() as report:
        count = reembed(opened.workspace.index, _load(DEFAULT), progress=report)
    say_json({"embedder": DEFAULT, "passages": count}) if args.json else say(
        f"the stock embedder serves; {count} passages embedded"
    )
    return 0


def _check_environment() -> None:
    if name := os.environ.get("EMENDO_EMBEDDER"):
        raise UserError(f"EMENDO_EMBEDDER={name} overrules emendo.toml, where the adapted embedder is set; unset it first")


def _judge(retriever: Retriever, before: Embedder, after: Embedder, held_out: Sequence[Pair], report: Any) -> Judgement:
    """The dense search's reciprocal rank decides; on questions the whole search must not have lost, either."""
    from eval.retrieval_ablation import gold_ranks
    from eval.stats import compare
    from rag.index import indexed_text
    from sft.retriever import Judgement

    asked = held_out[0].kind == "question"
    text_of = indexed_text if asked else (lambda chunk: chunk.text)  # with its heading a passage would give itself away
    gold: dict[str, set[str]] = {}
    for pair in held_out:
        gold.setdefault(pair.query, set()).add(pair.chunk_id)
    groups = {pair.query: pair.group for pair in held_out}
    (dense, whole), (new_dense, new_whole) = (
        gold_ranks(retriever, embedder, text_of, gold, report) for embedder in (before, after)
    )
    test = compare(dense, new_dense, [groups[query] for query in gold])
    kept_whole = not asked or sum(new_whole) >= sum(whole)
    metric = f"reciprocal rank by meaning, {held_out[0].kind}s of sections not learned"
    return Judgement(metric, len(gold), test.before, test.after, test.p, test.p < 0.05 and test.difference > 0 and kept_whole)


def _write_embedder(workspace: Workspace, spec: str) -> None:
    """Set [index] embedder in emendo.toml and leave the rest of the file as it is."""
    import tomlkit

    text = workspace.settings.read_text(encoding="utf-8") if workspace.settings.exists() else ""
    settings = tomlkit.parse(text)
    settings.setdefault("index", tomlkit.table())["embedder"] = spec
    write_whole(workspace.settings, tomlkit.dumps(settings))


def _load(spec: str) -> Embedder:
    from rag.embedder import load_embedder

    return load_embedder(spec)
