"""`emendo demo`: the whole loop on the sample data, each step as its own command does it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from emendo.commands import open_store, opener, same_again
from emendo.terminal import note, progress_bar, say, say_json

DATA = Path(__file__).resolve().parent.parent / "data"
MANUALS = {
    "corvella_e20.pdf": "Corvella E20 espresso machine",
    "pavo_r7.docx": "Pavo R7 robot vacuum",
    "nordhaven_ax3.md": "Nordhaven AX3 home router",
}
MODEL, BITS = "hf:bundled", "nf4"


def run_demo(args: argparse.Namespace) -> int:
    """Index, evaluate base, tune, evaluate tuned, print the comparison, open the chat. Run again, it goes on where it was."""
    from emendo.commands.judging import show_report
    from emendo.commands.learning import run_tune, show_card
    from emendo.judging import Trial
    from eval.gate import Policy
    from eval.questions import load_questions
    from sft.corrections import read_corrections
    from sft.examples import ExampleSettings, build_examples
    from sft.train import TuneSettings

    start = time.perf_counter()
    opened, store = opener(args), open_store(args)
    note("1/5 index the sample manuals")
    index_samples(args, opened)
    retriever = opened.retriever()
    store.add_corrections(read_corrections(DATA / "corrections.jsonl"))
    rows = [correction for _, correction in store.corrections("approved")]
    questions = load_questions(DATA / "questions.jsonl")
    policy = opened.settings(Policy, "policy")
    with progress_bar() as report:
        trial = Trial(opened, MODEL, BITS, questions, retriever, report)
        data = build_examples(rows, opened.settings(ExampleSettings, "examples"))
        note(f"2/5 ask the base model {len(questions)} held-out questions, with and without the manuals")
        out = trial.run_folder("demo")
        trial.ask_base(out, policy)
    note(f"3/5 QLoRA on {len(data.cleaned.kept)} corrections from other sections")
    card = run_tune(opened, MODEL, BITS, data, rows, opened.settings(TuneSettings, "tune"))
    if not args.json:
        show_card(card)
    note("4/5 ask the tuned model the same questions, check for leaks, compare")
    with progress_bar() as report:
        trial.progress = report
        judged = trial.judge(
            opened.workspace.adapters / card.adapter_id, card, rows, out, policy, same_again(args, "demo", "--no-serve")
        )
    say_json(judged) if args.json else show_report(judged)
    note(f"the loop took {time.perf_counter() - start:.0f} s")
    if args.no_serve:
        return 0
    note("5/5 chat with the manuals (quoting model; `emendo serve --model hf:bundled` serves the small one)")
    return open_chat(args)


def index_samples(args: argparse.Namespace, opened) -> None:  # type: ignore[no-untyped-def]
    from rag.ingest import ingest

    embedder = opened.embedder()
    with progress_bar() as report:
        for file, product in MANUALS.items():
            summary = ingest(opened.workspace.index, DATA / "manuals" / file, embedder, product=product, progress=report)
    if not args.json:
        say(f"{len(MANUALS)} manuals, {summary.chunks} passages")


def open_chat(args: argparse.Namespace) -> int:
    from emendo.commands.showing import serve

    args.model, args.adapter, args.bits, args.host = "", "none", "", "127.0.0.1"
    return serve(args)
