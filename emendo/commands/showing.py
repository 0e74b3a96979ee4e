"""serve, demo, doctor."""

from __future__ import annotations

import argparse

from emendo.commands import Commands, add, open_store, opener
from emendo.commands.answering import adapter_folder, add_model
from emendo.terminal import note, say_json, table


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "serve", "the chat in the browser", serve)
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="another address than this computer's own (127.0.0.1) needs users")
    _add_port(parser)
    parser = add(commands, common, "demo", "the whole loop on the sample manuals: index, evaluate, tune, evaluate, chat", demo)
    parser.add_argument("--no-serve", action="store_true", help="end after the report instead of opening the chat")
    _add_port(parser)
    add(commands, common, "doctor", "what this machine can do, and what is missing", doctor)


def _add_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=7860, help="default 7860")


def serve(args: argparse.Namespace) -> int:
    from emendo.commands.learning import DEFAULT_BASE
    from rag.answer import Answerer
    from rag.assemble import IndexSettings, ModelSettings
    from rag.retrieve import Retriever
    from serve.app import serve as serve_app
    from serve.batch_model import batched
    from serve.session import ServeContext, ServeSettings
    from serve.tune_job import TuneRequest

    opened = opener(args)
    opened.check_model(args.model)
    note("starting…")
    embedder = opened.embedder()
    has_index = (opened.workspace.index / "CURRENT").exists()
    retriever: Retriever | None = opened.retriever(embedder) if has_index else None
    model = opened.chat_model(args.model, adapter_folder(args, opened.workspace.adapters), args.bits)
    answerer: Answerer = opened.answerer(retriever, batched(model))
    store = open_store(args)

    def load_model(adapter_id: str):  # type: ignore[no-untyped-def]
        folder = str(opened.workspace.adapters / adapter_id) if adapter_id else ""
        return batched(opened.chat_model(args.model, folder, args.bits))

    spec = args.model or opened.settings(ModelSettings, "model").spec
    context = ServeContext(
        store=store,
        answerer=answerer,
        index_directory=opened.workspace.index,
        embedder=embedder,
        workspace=opened.workspace,
        model_label=answerer.model_id,
        demonstration=answerer.model_id == "hf:bundled",
        embedder_spec=opened.embedder_spec(),
        ocr=opened.settings(IndexSettings, "index").ocr,
        writer=opened.settings(IndexSettings, "index").context,
        load_model=load_model,
        settings=opened.settings(ServeSettings, "serve"),
        tuned=TuneRequest(spec if spec.startswith("hf:") else DEFAULT_BASE, args.bits, tuple(args.overrides)),
    )
    told = f"Emendo at http://{args.host}:{args.port}  (model {answerer.model_id}; Ctrl-C ends it)"
    serve_app(context, host=args.host, port=args.port, ready=lambda: note(told))
    return 0


def demo(args: argparse.Namespace) -> int:
    from emendo.demo import run_demo

    return run_demo(args)


def doctor(args: argparse.Namespace) -> int:
    from emendo.doctor import examine

    found = examine()
    if args.json:
        say_json(found)
    else:
        table("", ("what", "state", ""), [(f.topic, f.state, f.text) for f in found])
    return 1 if any(f.state == "missing" for f in found) else 0
