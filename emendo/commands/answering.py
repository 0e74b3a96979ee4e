"""index, documents, delete, search, ask, chat."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from emendo.commands import NOT_TEXT, Commands, add, at_least_one, open_store, opener, typed
from emendo.files import read_jsonl, write_whole
from emendo.records import UserError
from emendo.terminal import answer_row, hit_row, note, place, progress_bar, say, say_json, show_answer, show_sources, table

_SHOWN = 10  # warnings printed after indexing; a web site may have one for every page that only lists others


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "index", "parse manuals (a file, a folder or a .zip) and make them searchable", index)
    parser.add_argument("path", type=Path, nargs="?", help="a manual, a folder of manuals, or a .zip")
    parser.add_argument("--reembed", action="store_true", help="embed all indexed passages again, after the embedder was changed")
    parser.add_argument("--lists", type=int, help="search vectors in so many lists, for a million passages and more (0: exactly)")
    parser.add_argument("--product", default="", help="name of the product these manuals are of (default: each manual's title)")
    add(commands, common, "documents", "list what is indexed", documents)
    parser = add(commands, common, "delete", "take documents out of the index", delete)
    parser.add_argument("doc_ids", nargs="+", metavar="DOC_ID", help="as `emendo documents` lists them")
    parser = add(commands, common, "search", "passages for a question, or for a JSONL file of questions", search)
    _add_question(parser)
    parser.add_argument("-k", type=at_least_one, default=8, help="passages per question (default 8)")
    parser = add(commands, common, "ask", "a cited answer to a question, or to a JSONL file of questions", ask)
    _add_question(parser)
    add_model(parser)
    parser = add(commands, common, "chat", "chat in the terminal", chat)
    parser.add_argument("--product", default="", help="search only this product or document")
    add_model(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="", help="quote | hf:<hub id or path> | openai:<base url>#<model> | scripted:<file>")
    parser.add_argument("--bits", default="", help="auto | nf4 | bf16 | fp32, for hf: models")
    parser.add_argument("--adapter", default="", help="adapter id, `latest`, or `none` (default: the promoted one)")


def _add_question(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", nargs="?", help="in quotes")
    parser.add_argument("--questions", type=Path, metavar="IN.jsonl", help="rows with id and question, optional product, history")
    parser.add_argument("--out", type=Path, metavar="OUT.jsonl", help="where the rows go (default: standard output)")
    parser.add_argument("--product", default="", help="search only this product or document")


def index(args: argparse.Namespace) -> int:
    from rag.assemble import IndexSettings
    from rag.ingest import ingest, reembed, use_lists

    opened = opener(args)
    if args.lists is not None:
        if args.lists < 0:
            raise UserError(f"--lists {args.lists}: expected 0 (search exactly) or more")
        count = use_lists(opened.workspace.index, opened.embedder(), args.lists)
        how = f"in {args.lists} lists" if args.lists else "exactly"
        say_json({"passages": count, "lists": args.lists}) if args.json else say(f"{count} passages are searched {how}")
        return 0
    if args.reembed:
        with progress_bar() as report:
            count = reembed(opened.workspace.index, opened.embedder(), progress=report)
        say_json({"passages": count}) if args.json else say(f"{count} passages embedded again")
        return 0
    if args.path is None:
        raise UserError("no manual given; write `emendo index PATH` (a file, a folder or a .zip)")
    settings = opened.settings(IndexSettings, "index")
    with progress_bar() as report:
        summary = ingest(
            opened.workspace.index,
            args.path,
            opened.embedder(),
            product=args.product,
            progress=report,
            ocr=settings.ocr,
            contexts=opened.context_writer(_tell_cost),
        )
    if args.json:
        say_json(summary)
    else:
        counts = {what: getattr(summary, what) for what in ("added", "replaced", "unchanged", "removed")}
        done = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
        say(f"{done}; {summary.chunks} passages in the index ({summary.seconds:.1f} s)")
        for source, warning in summary.warnings[:_SHOWN]:
            say(f"{source}: {warning}")
        if len(summary.warnings) > _SHOWN:
            say(f"{len(summary.warnings) - _SHOWN} more such lines; `emendo documents` shows them all")
        for _, message in summary.failed:
            say(f"failed: {message}")
    return 0


def _tell_cost(cost: Any) -> None:
    read, write = f"{cost.prompt_tokens:,}", f"{cost.reply_tokens:,}"
    cached = f"; {cost.cached} passages have theirs already" if cost.cached else ""
    note(
        f"contexts: {cost.calls} calls, about {read} tokens to read and {write} to write{cached} (Ctrl-C stops, nothing is lost)"
    )


def documents(args: argparse.Namespace) -> int:
    found = opener(args).retriever().index.documents()
    if args.json:
        say_json(found)
    else:
        rows = [(d.doc_id, d.title, d.product, d.pages or "-", "; ".join(d.warnings)) for d in found]
        table("", ("doc_id", "title", "product", "pages", "warnings"), rows, "no documents; add a manual with: emendo index PATH")
    return 0


def delete(args: argparse.Namespace) -> int:
    from rag.ingest import delete_documents

    opened = opener(args)
    count = delete_documents(opened.workspace.index, opened.embedder(), args.doc_ids)
    say_json({"deleted": count}) if args.json else say(f"deleted {count} document(s)")
    return 0


def search(args: argparse.Namespace) -> int:
    rows = read_rows(args.questions) if args.questions else []
    question = "" if rows else _question(args)
    retriever = opener(args).retriever()
    if rows:
        from rag.turns import turn_of

        def hits_of(row: dict[str, Any]) -> list[dict[str, Any]]:
            turn = turn_of(retriever, row["question"], past_turns(row), row.get("product") or args.product)
            return [hit_row(hit) for hit in retriever.passages(row["question"], args.k, turn.product, turn.standalone)]

        def found(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [{"id": row["id"], "hits": hits_of(row)} for row in batch]

        write_rows(args.out, "searching", rows, found)
        return 0
    hits = retriever.passages(question, k=args.k, product=retriever.product_for(question, args.product))
    if args.json:
        say_json([hit_row(hit) for hit in hits])
        return 0
    for hit in hits:
        say(f"{hit.rank}. {place(hit)}  ({hit.score:.3f})")
        say("   " + " ".join(hit.chunk.text.split())[:240])
        if hit.also_in:
            say(f"   also in the manuals of: {', '.join(hit.also_in)}")
    return 0


def ask(args: argparse.Namespace) -> int:
    rows = read_rows(args.questions) if args.questions else []
    question = "" if rows else _question(args)
    answerer = open_answerer(args)
    if rows:
        from rag.answer import Ask

        def answered(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
            asks = [Ask(row["question"], past_turns(row), row.get("product") or args.product) for row in batch]
            return [answer_row(a, row["id"]) for a, row in zip(answerer.answer_many(asks), batch, strict=True)]

        write_rows(args.out, "answering", rows, answered)
        return 0
    answer = answerer.answer(question, product=args.product)
    say_json(answer_row(answer)) if args.json else show_answer(answer)
    return 0


def chat(args: argparse.Namespace) -> int:
    """Answers are stored as in the app, so they can be corrected there."""
    from emendo.records import Answer

    answerer, store = open_answerer(args), open_store(args)
    conversation = ""  # made when its first answer is there
    note("Ask about your manuals; an empty line or Ctrl-D ends the chat.")
    while True:
        try:
            question = typed(input("\n> "))
        except EOFError:
            question = ""
        except UnicodeDecodeError as error:
            raise UserError(NOT_TEXT) from error
        if not question:
            return 0
        turns = store.turns(conversation) if conversation else ()
        for piece in answerer.stream(question, turns, args.product):
            if isinstance(piece, Answer):
                say()
                show_sources(piece)
                conversation = conversation or store.create_conversation("Terminal chat")
                store.save_answer(piece, conversation)
            else:
                print(piece, end="", flush=True)  # noqa: T201


def open_answerer(args: argparse.Namespace) -> Any:
    """The answerer the call's options name: model, bits, adapter (the promoted one unless told otherwise)."""
    opened = opener(args)
    opened.check_model(args.model)
    embedder = opened.embedder()
    retriever = opened.retriever(embedder)
    adapter = adapter_folder(args, opened.workspace.adapters)
    return opened.answerer(retriever, opened.chat_model(args.model, adapter, args.bits))


def adapter_folder(args: argparse.Namespace, adapters: Path) -> str:
    """Folder of the adapter to serve with: --adapter, else the promoted one where an hf: model was not asked for without it."""
    from sft.adapters import find_adapter

    if args.adapter == "none":
        return ""
    if args.adapter:
        return str(find_adapter(adapters, args.adapter))
    promoted = open_store(args).promoted()
    return str(find_adapter(adapters, promoted)) if promoted else ""


def past_turns(row: dict[str, Any]) -> tuple[Any, ...]:
    """`history` of a row, [{"question": ..., "answer": ...}, ...], as answers without passages."""
    from emendo.records import Answer
    from rag.condense import condense

    turns: list[Answer] = []
    for turn in row.get("history") or ():
        question, text = str(turn.get("question", "")), str(turn.get("answer", ""))
        standalone = condense(question, turns)
        turns.append(Answer("", question, standalone, text, (), (), False, 0.0, "", "", "", ""))
    return tuple(turns)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The JSONL rows of a question file; UserError names the file, the line and the cure."""
    rows = []
    for line, row in read_jsonl(path, "questions"):
        question = row.get("question")
        if not isinstance(question, str) or not question.strip() or "id" not in row:
            raise UserError(f'{line}: expected an object like {{"id": "q1", "question": "..."}}')
        if not isinstance(row.get("product") or "", str):
            raise UserError(f"{line}: `product` must be text, got {row['product']!r}")
        history = row.get("history") or []
        if not isinstance(history, list) or not all(isinstance(turn, dict) for turn in history):
            raise UserError(f'{line}: `history` must be a list like [{{"question": "...", "answer": "..."}}]')
        rows.append(row)
    return rows


def write_rows(out: Path | None, what: str, rows: list[dict[str, Any]], work: Any, batch_size: int = 16) -> None:
    """`work` on batches of rows, one JSON line per row to `out`, which appears whole or not at all, or to standard output."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):  # told before the work, not after it
        raise UserError(f"--out {out}: expected a file in a folder that exists")
    done: list[str] = []
    with progress_bar() as report:
        for start in range(0, len(rows), batch_size):
            done += [json.dumps(row, ensure_ascii=False) for row in work(rows[start : start + batch_size])]
            report(what, len(done), len(rows))
    if out is None:
        for line in done:
            say(line)
        return
    write_whole(out, "".join(line + "\n" for line in done))


def _question(args: argparse.Namespace) -> str:
    question = typed(args.question or "")
    if args.out:
        raise UserError("--out is for a file of questions (--questions IN.jsonl); use `--json > FILE` for one")
    if not question:
        raise UserError("no question; write it in quotes, or give a file with --questions IN.jsonl")
    return question
