"""corrections, tune, adapters, promote, rollback."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from emendo.commands import Commands, add, open_store, opener
from emendo.records import AdapterCard, UserError
from emendo.terminal import note, progress_bar, say, say_json, table

DEFAULT_BASE = "hf:bundled"


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "corrections", "list, import, export and judge corrected answers", corrections)
    parser.add_argument("action", nargs="?", choices=("list", "import", "export", "approve", "reject"), default="list")
    parser.add_argument("target", nargs="?", help="the file to import or export, or the correction's number")
    parser.add_argument("--status", choices=("open", "approved", "rejected"), help="list only these")
    parser = add(commands, common, "tune", "QLoRA-tune an adapter on the approved corrections", tune)
    parser.add_argument("--model", default=DEFAULT_BASE, help=f"hf:<hub id or path> (default {DEFAULT_BASE})")
    parser.add_argument("--bits", default="", help="nf4 | bf16 | fp32 (default nf4)")
    add(commands, common, "adapters", "list the tuned adapters", adapters)
    parser = add(commands, common, "promote", "serve with an adapter that its evaluation has shown to be better", promote)
    parser.add_argument("adapter", nargs="?", default="latest", help="adapter id (default: the newest)")
    parser.add_argument("--force", action="store_true", help="without a PROMOTE verdict; needs --reason, which is recorded")
    parser.add_argument("--reason", default="")
    add(commands, common, "rollback", "serve with what was promoted before, or with the base model", rollback)


def corrections(args: argparse.Namespace) -> int:
    store = open_store(args)
    if args.action == "import":
        return _import(args)
    if args.action == "export":
        from sft.corrections import write_corrections

        rows = [correction for _, correction in store.corrections(args.status)]
        write_corrections(_target_file(args), rows)
        note(f"{len(rows)} corrections written to {args.target}")
        return 0
    if args.action in ("approve", "reject"):
        if not (args.target or "").isdigit():
            raise UserError(
                f"`emendo corrections {args.action} NUMBER`: expected the number of a correction, got {args.target!r}"
            )
        store.set_correction_status(int(args.target), "approved" if args.action == "approve" else "rejected")
        return 0
    found = store.corrections(args.status)
    if args.json:
        say_json([{"number": number, "correction": correction} for number, correction in found])
        return 0
    rows = [(n, c.status, c.reason, _short(c.question, 50), _short(c.corrected, 70)) for n, c in found]
    table("", ("no.", "status", "reason", "question", "corrected answer"), rows)
    return 0


def _import(args: argparse.Namespace) -> int:
    from sft.corrections import read_corrections

    path = _target_file(args)
    opened = opener(args)
    light = opened.retriever() if opened.workspace.index.exists() else None
    rows = read_corrections(path, light)
    numbers = open_store(args).add_corrections(rows)
    say_json({"imported": len(numbers)}) if args.json else say(f"{len(numbers)} corrections read from {path}")
    return 0


def _target_file(args: argparse.Namespace) -> Path:
    if not args.target:
        raise UserError(f"`emendo corrections {args.action} FILE.jsonl`: the file is missing")
    return Path(args.target)


def tune(args: argparse.Namespace) -> int:
    from sft.examples import ExampleSettings, build_examples
    from sft.train import TuneSettings

    opened = opener(args)
    rows = [correction for _, correction in open_store(args).corrections()]
    data = build_examples(rows, opened.settings(ExampleSettings, "examples"))
    settings = opened.settings(TuneSettings, "tune")
    if not args.json:
        say(
            f"{len(data.train)} training and {len(data.validation)} validation examples from {len(data.cleaned.kept)} corrections"
        )
        for reason, count in Counter(reason for _, reason in data.cleaned.dropped).most_common():
            say(f"  left out {count}: {reason}")
    card = run_tune(opened, args.model, args.bits, data, rows, settings)
    say_json(card) if args.json else show_card(card)
    return 0


def run_tune(opened, model, bits, data, rows, settings) -> AdapterCard:  # type: ignore[no-untyped-def]
    """Tune with a progress bar; `model` is an hf: spec."""
    import dataclasses

    from sft.train import tune as tune_adapter

    if not model.startswith("hf:"):
        raise UserError(f"--model {model}: only hf:<hub id or path> models can be tuned")
    if bits:
        settings = dataclasses.replace(settings, bits=bits)
    by_id = {row.correction_id: row for row in rows}
    with progress_bar() as report:

        def progress(step: int, steps: int, figures: dict[str, float]) -> None:
            report("tuning (" + ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in figures.items()) + ")", step, steps)

        return tune_adapter(model.removeprefix("hf:"), data, by_id, opened.workspace.adapters, settings, progress)


def show_card(card: AdapterCard) -> None:
    loss = card.losses
    say(f"adapter {card.adapter_id}, {card.seconds:.0f} s")
    say(f"  loss {loss['train_first']:.3f} -> {loss['train_last']:.3f} nats per labelled token")
    if "validation_best" in loss:
        say(f"  validation loss {loss['validation_last']:.3f} (best {loss['validation_best']:.3f})")
    say("  next: emendo eval run, then emendo promote")


def adapters(args: argparse.Namespace) -> int:
    from emendo.config import open_workspace
    from sft.adapters import list_adapters

    promoted = open_store(args).promoted()
    cards = list_adapters(open_workspace(args.workspace).adapters)
    if args.json:
        say_json([{"promoted": card.adapter_id == promoted, "card": card} for card in cards])
        return 0
    rows = [
        (
            card.adapter_id,
            card.at,
            Path(card.base_model).name,
            len(card.correction_ids),
            card.losses["train_last"],
            "serving" * (card.adapter_id == promoted),
        )
        for card in cards
    ]
    table("", ("adapter", "made", "base", "corrections", "loss", ""), rows)
    return 0


def promote(args: argparse.Namespace) -> int:
    from emendo.config import open_workspace
    from eval.history import find_verdict
    from sft.adapters import find_adapter

    workspace, store = open_workspace(args.workspace), open_store(args)
    adapter_id = find_adapter(workspace.adapters, args.adapter).name
    verdict, report = find_verdict(workspace.runs, adapter_id)
    if verdict != "PROMOTE" and not args.force:
        why = f"its verdict is {verdict} ({report})" if verdict else "it has not been evaluated; run `emendo eval run`"
        raise UserError(f"adapter {adapter_id} is not promoted: {why}. To overrule it: --force --reason '...'")
    if verdict != "PROMOTE" and not args.reason.strip():
        raise UserError("--force needs --reason 'why': it is recorded and shown with the promotion")
    store.promote(adapter_id, verdict or "not evaluated", str(report or ""), args.reason if verdict != "PROMOTE" else "")
    say_json(store.promotions()[0]) if args.json else say(f"adapter {adapter_id} now serves")
    return 0


def rollback(args: argparse.Namespace) -> int:
    store = open_store(args)
    history = store.promotions()
    if not history or not history[0]["adapter_id"]:
        raise UserError("nothing to roll back: the base model serves")
    before = history[1]["adapter_id"] if len(history) > 1 else ""
    store.promote(before, "ROLLBACK")
    say_json(store.promotions()[0]) if args.json else say(f"{before or 'the base model'} now serves")
    return 0


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
