"""inspect, and eval retrieval: what is indexed, why a question finds what it finds, and what each step of the search adds."""

from __future__ import annotations

import argparse
from pathlib import Path

from emendo.commands import QUESTION_ROWS, Commands, add, at_least_one, opener, typed
from emendo.records import UserError
from emendo.terminal import place, progress_bar, say, say_json, table


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "inspect", "the chunks of a document, or what each step of a search ranked and why", inspect)
    parser.add_argument("document", nargs="?", metavar="DOC", help="doc_id, title or file of an indexed document")
    parser.add_argument("--query", help="a question, to see how its passages are found")
    parser.add_argument("--product", default="", help="search only this product or document")
    parser.add_argument("-k", type=at_least_one, default=8, help="passages shown for a query (default 8)")


def add_eval(kinds: Commands, common: argparse.ArgumentParser) -> None:
    """The kind of `emendo eval` that is about the search alone."""
    parser = add(kinds, common, "retrieval", "what each step of the search adds, on your questions", ablation)
    parser.add_argument("--questions", type=Path, required=True, metavar="FILE.jsonl", help=QUESTION_ROWS)
    parser.add_argument("--product", default="", help="search only this product or document (default: what each row says)")


def inspect(args: argparse.Namespace) -> int:
    if bool(args.document) == bool(args.query):
        raise UserError('give a document or a question: `emendo inspect DOC` or `emendo inspect --query "..."`')
    return _inspect_query(args) if args.query else _inspect_document(args)


def _inspect_document(args: argparse.Namespace) -> int:
    from rag.index import open_index
    from rag.inspect import document_chunks

    opened = opener(args)
    embedder = opened.embedder()
    found = document_chunks(open_index(opened.workspace.index, embedder), embedder, args.document)
    if args.json:
        say_json(found)
        return 0
    rows = [
        (
            size.chunk.position,
            " > ".join(size.chunk.section),
            ", ".join(map(str, size.chunk.pages)) or "-",
            size.tokens,
            size.header_tokens,
            _start(size.chunk.text),
        )
        for size in found
    ]
    table("", ("no.", "section", "pages", "tokens", "of header", "text"), rows)
    if found:
        counts = sorted(size.tokens for size in found)
        say(
            f"\n{len(found)} chunks; tokens: median {counts[len(counts) // 2]}, longest {counts[-1]} "
            f"(the embedder reads {embedder.max_tokens}, its own marks included)"
        )
    return 0


def _inspect_query(args: argparse.Namespace) -> int:
    from rag.index import open_index
    from rag.inspect import trace_search
    from rag.retrieve import RetrieveSettings

    opened = opener(args)
    embedder = opened.embedder()
    index = open_index(opened.workspace.index, embedder)
    trace = trace_search(index, embedder, opened.settings(RetrieveSettings, "retrieve"), typed(args.query), args.k, args.product)
    if args.json:
        say_json(trace)
        return 0
    say(f"searched:   {', '.join(trace.searched) or 'everything'}")
    say(f"words:      {', '.join(trace.terms)}")
    say(f"rareness:   {', '.join(f'{stem} {weight:.1f}' for stem, weight in trace.rareness.items())}")
    say(f"confidence: {trace.confidence:.2f} that these passages hold an answer")
    stages = list(dict.fromkeys(name for ranked in trace.ranked for name in ranked.hit.stages))
    rows = [
        (
            ranked.hit.rank,
            *(_figure(stage, ranked.hit.stages.get(stage)) for stage in stages),
            " ".join(ranked.found),
            " ".join(ranked.missing),
            f"{place(ranked.hit)}\n{_start(ranked.hit.chunk.text)}",
        )
        for ranked in trace.ranked
    ]
    say()
    table("", ("rank", *(stage.replace("_", "\n") for stage in stages), "has", "lacks", "passage"), rows)
    say("\n" + ", ".join(f"{step} {1000 * seconds:.1f} ms" for step, seconds in trace.seconds.items()))
    return 0


def ablation(args: argparse.Namespace) -> int:
    from eval.questions import load_questions
    from eval.retrieval_ablation import ablate
    from rag.embedder import HashEmbedder, load_embedder
    from rag.retrieve import RetrieveSettings

    opened = opener(args)
    questions = load_questions(args.questions)
    retriever = opened.retriever()
    stock = retriever.embedder if isinstance(retriever.embedder, HashEmbedder) else load_embedder()
    settings = opened.settings(RetrieveSettings, "retrieve")
    with progress_bar() as report:
        steps = ablate(questions, retriever.index, retriever.embedder, stock, settings, args.product, report)
    if args.json:
        say_json(steps)
        return 0
    rows = []
    for step in steps:
        measures = (f"{m.value:.3f} [{m.interval.low:.3f}, {m.interval.high:.3f}]" for m in _measures(step))
        against = step.against_above
        rows.append((step.name, *measures, "-" if against is None else f"{against.difference:+.3f} (p {against.p:.2g})"))
    table("", ("search", "hit@1", "hit@5", "MRR@10", "MRR, against the row above"), rows)
    say(f"\n{len(steps[0].ranks)} questions; 95 % intervals; p one-sided, that the row is better than the one above")
    return 0


def _measures(step):  # type: ignore[no-untyped-def]
    return step.hit_at_1, step.hit_at_5, step.reciprocal_rank


def _figure(stage: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if stage.endswith("_rank") else f"{value:.2f}"


def _start(text: str, width: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
