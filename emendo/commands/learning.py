"""corrections, ratings, tune, promote, rollback."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from emendo.commands import Commands, add, open_store, opener
from emendo.commands.tuning import add_examples_file, gather, run_check
from emendo.records import AdapterCard, UserError
from emendo.terminal import note, progress_bar, say, say_json, table

if TYPE_CHECKING:
    from sft.train import TuneSettings

DEFAULT_BASE = "hf:bundled"


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "corrections", "list, import, export and judge corrected answers", corrections)
    parser.add_argument("action", nargs="?", choices=("list", "import", "export", "approve", "reject"), default="list")
    parser.add_argument("target", nargs="?", help="the file to import or export, or the correction's number")
    parser.add_argument("--status", choices=("open", "approved", "rejected"), help="list only these")
    told = f"import: rows without passages get those that this model is shown (default {DEFAULT_BASE})"
    parser.add_argument("--model", default=DEFAULT_BASE, help=told)
    add(commands, common, "ratings", "the thumbs up and down that answers got, and what was said with them", ratings)
    parser = add(commands, common, "tune", "QLoRA-tune an adapter on the approved corrections", tune)
    parser.add_argument("action", nargs="?", choices=("run", "check"), default="run", help="check: everything but the training")
    add_examples_file(parser)
    parser.add_argument("--model", default=DEFAULT_BASE, help=f"hf:<hub id or path> (default {DEFAULT_BASE})")
    parser.add_argument("--bits", default="", help="auto | nf4 | bf16 | fp32 (default nf4)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--retriever", action="store_true", help="adapt the embedder instead, and keep it if it finds more")
    instead.add_argument("--task", type=Path, metavar="TASK.toml", help="tune for this task, on its own training rows")
    told = "go on from this adapter (default: the newest), away from the rejected answers (DPO)"
    instead.add_argument("--preference", nargs="?", const="latest", default="", metavar="ADAPTER", help=told)
    told = "go on from this adapter (default: the newest), by the thumbs up and down that answers got (KTO)"
    instead.add_argument("--thumbs", nargs="?", const="latest", default="", metavar="ADAPTER", help=told)
    parser = add(commands, common, "promote", "serve with an adapter that its evaluation has shown to be better", promote)
    parser.add_argument("adapter", nargs="?", default="latest", help="adapter id (default: the newest)")
    parser.add_argument("--force", action="store_true", help="without a PROMOTE verdict; needs --reason, which is recorded")
    parser.add_argument("--reason", default="", help="why it shall serve without that verdict")
    parser = add(commands, common, "rollback", "serve with what was promoted before, or with the base model", rollback)
    parser.add_argument("--retriever", action="store_true", help="embed with the stock embedder again")


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
        if not (args.target or "").isdecimal():
            raise UserError(
                f"`emendo corrections {args.action} NUMBER`: expected the number of a correction, got {args.target!r}"
            )
        status = "approved" if args.action == "approve" else "rejected"
        store.set_correction_status(int(args.target), status)
        note(f"correction {args.target} is {status}")
        return 0
    found = store.corrections(args.status)
    if args.json:
        say_json([{"number": number, "correction": correction} for number, correction in found])
        return 0
    rows = [(n, c.status, c.reason, _short(c.question, 50), _short(c.corrected, 70)) for n, c in found]
    none = f"no {args.status or ''} corrections".replace("  ", " ") + "; correct a wrong answer in the chat of `emendo serve`"
    table("", ("no.", "status", "reason", "question", "corrected answer"), rows, none)
    return 0


def ratings(args: argparse.Namespace) -> int:
    found = open_store(args).ratings()
    if args.json:
        say_json(found)
        return 0
    rows = []
    for row in found:
        question, text = (row["answer"].question, row["answer"].text) if row["answer"] else ("(deleted)", "")
        thumb = "up" if row["rating"] > 0 else "down"
        rows.append((row["at"][:10], row["owner"], thumb, _short(question, 50), _short(text, 60), row["comment"]))
    none = "no thumbs yet; they are given in the chat of `emendo serve`, or by POST /feedback with a comment"
    table("", ("at", "who", "thumb", "question", "answer", "comment"), rows, none)
    return 0


def _import(args: argparse.Namespace) -> int:
    from sft.corrections import read_corrections

    path = _target_file(args)
    opened = opener(args)
    light = opened.retriever() if opened.workspace.index.exists() else None
    rows = read_corrections(path, light, opened.answer_settings(args.model))
    numbers = open_store(args).add_corrections(rows)
    say_json({"imported": len(numbers)}) if args.json else say(f"{len(numbers)} corrections read from {path}")
    return 0


def _target_file(args: argparse.Namespace) -> Path:
    if not args.target:
        raise UserError(f"`emendo corrections {args.action} FILE.jsonl`: the file is missing")
    return Path(args.target)


def tune(args: argparse.Namespace) -> int:
    from sft.train import TuneSettings, as_served

    if os.environ.get("RANK", "0") != "0":  # of several processes that train together only the first one speaks
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if args.action == "check" and (args.retriever or args.preference or args.thumbs):
        raise UserError("`emendo tune check` checks corrections, --examples or --task; leave out the other option")
    if args.retriever:
        from emendo.commands.retrieving import tune_embedder

        return tune_embedder(args)
    if args.preference:
        from emendo.commands.preferring import tune_preference

        return tune_preference(args)
    if args.thumbs:
        from emendo.commands.preferring import tune_thumbs

        return tune_thumbs(args)
    if args.task:
        from emendo.commands.tasks import tune_task

        return tune_task(args)
    opened = opener(args)
    data, rows = gather(args, opened)
    settings = opened.settings(TuneSettings, "tune")
    if args.action == "check":
        return run_check(args, data, rows, as_served(opened, args.model, with_bits(settings, args.bits)))
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
    from sft.train import as_served
    from sft.train import tune as tune_adapter

    base, settings = hf_base(model), as_served(opened, model, with_bits(settings, bits))
    by_id = {row.correction_id: row for row in rows}
    with progress_bar() as report:

        def progress(step: int, steps: int, figures: dict[str, float]) -> None:
            report("tuning (" + ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in figures.items()) + ")", step, steps)

        return tune_adapter(base, data, by_id, opened.workspace.adapters, settings, progress)


def hf_base(model: str) -> str:
    """The base model of an hf: spec; only these can be tuned."""
    if not model.startswith("hf:"):
        raise UserError(f"--model {model}: only hf:<hub id or path> models can be tuned")
    return model.removeprefix("hf:")


def with_bits(settings: TuneSettings, bits: str) -> TuneSettings:
    """The settings with --bits, where it is given."""
    from emendo.config import make_settings

    return dataclasses.replace(settings, bits=make_settings(type(settings), {"bits": bits}, "tune").bits) if bits else settings


def show_card(card: AdapterCard, judge: str = "emendo eval run") -> None:
    loss = card.losses
    say(f"adapter {card.adapter_id}, {card.seconds:.0f} s")
    unit = "nats per answer, on its choices" if card.settings.get("loss") == "choices" else "nats per labelled token"
    say(f"  loss {loss['train_first']:.3f} -> {loss['train_last']:.3f} {unit}")
    if "validation_best" in loss:
        say(f"  validation loss {loss['validation_last']:.3f} (best {loss['validation_best']:.3f})")
    if "general_after" in loss:
        change = loss["general_after"] - loss["general_before"]
        say(f"  general text {loss['general_before']:.3f} -> {loss['general_after']:.3f} nats per token ({change:+.3f})")
    say(f"  next: {judge}" + ("" if "task" in judge else ", then emendo promote"))


def promote(args: argparse.Namespace) -> int:
    from emendo.config import open_workspace
    from sft.promotion import promote as promote_adapter

    store = open_store(args)
    adapter_id = promote_adapter(store, open_workspace(args.workspace), args.adapter, args.reason if args.force else None)
    say_json(store.promotions()[0]) if args.json else say(f"adapter {adapter_id} now serves")
    return 0


def rollback(args: argparse.Namespace) -> int:
    if args.retriever:
        from emendo.commands.retrieving import rollback_embedder

        return rollback_embedder(args)
    from sft.promotion import roll_back

    store = open_store(args)
    before = roll_back(store)
    say_json(store.promotions()[0]) if args.json else say(f"{before or 'the base model'} now serves")
    return 0


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
