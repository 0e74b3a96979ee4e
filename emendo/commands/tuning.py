"""tune check, examples, adapters: what is learned from, and what came of it."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from emendo.commands import Commands, add, open_store, opener
from emendo.records import Correction, UserError
from emendo.terminal import say, say_json, table

if TYPE_CHECKING:
    from rag.assemble import Opener
    from sft.examples import ExampleSet
    from sft.train import TuneSettings

EXAMPLE_FORMATS = ("messages", "prompt-completion", "alpaca", "sharegpt")


def run_check(args: argparse.Namespace, data: ExampleSet, rows: list[Correction], settings: TuneSettings) -> int:
    """Show every check of the run; 1 when one failed."""
    from emendo.commands.learning import hf_base
    from sft.preflight import preflight

    found = preflight(hf_base(args.model), data, rows, settings)
    if args.json:
        say_json({"passed": found.passed, "findings": found.findings, "lengths": found.lengths, "sample": found.sample})
        return 0 if found.passed else 1
    table("", ("what", "state", ""), [(f.name, f.state, f.text) for f in found.findings])
    if found.lengths:
        most = max(count for _, count in found.lengths)
        say("\nlength of the rows, tokens")
        for end, count in found.lengths:
            say(f"  up to {end:>6}  {count:>6}  {'█' * max(1, round(40 * count / most))}")
        before, labelled = found.sample
        say("\none row: the end of its prompt, and in ⟦ ⟧ what is learned")
        say(f"…{before}⟦{labelled}⟧")
    say("\n" + ("ready to tune" if found.passed else "not ready: mend what failed"))
    return 0 if found.passed else 1


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "examples", "what would be learned: show it, write it, or list what contradicts", examples)
    add_examples_file(parser)
    parser.add_argument("--to", metavar="FILE", help="write all examples as JSONL")
    parser.add_argument("--format", choices=EXAMPLE_FORMATS, default="messages", help="of --to (default messages)")
    parser.add_argument("--contradictions", action="store_true", help="questions that corrections answer differently")
    parser = add(commands, common, "adapters", "list, show, compare, delete and export the tuned adapters", adapters)
    parser.add_argument("action", nargs="?", choices=tuple(ADAPTER_ACTIONS), default="list")
    parser.add_argument("adapter", nargs="?", default="latest", help="adapter id or the start of it (default: the newest)")
    parser.add_argument("other", nargs="?", default="", help="diff: the adapter to compare with")
    parser.add_argument("--to", metavar="DIR", help="export: the new folder")
    parser.add_argument("--merged", action="store_true", help="export: base and adapter as one model, not the LoRA folder")
    parser.add_argument("--gguf", metavar="CONVERTER", help="export: merged, and as GGUF by llama.cpp's convert_hf_to_gguf.py")


def add_examples_file(parser: argparse.ArgumentParser) -> None:
    text = f"learn from this JSONL file ({', '.join(EXAMPLE_FORMATS)}) instead of the corrections"
    parser.add_argument("--examples", metavar="FILE", help=text)


def gather(args: argparse.Namespace, opened: Opener) -> tuple[ExampleSet, list[Correction]]:
    """The examples of --examples or else of the approved corrections, and the corrections they were made from."""
    from sft.examples import ExampleSettings, build_examples
    from sft.formats import read_examples
    from sft.ratings import learnable

    settings = opened.settings(ExampleSettings, "examples")
    if args.examples:
        return read_examples(Path(args.examples), settings)
    rows = learnable(open_store(args), settings.thumbs_up)
    return build_examples(rows, settings), rows


def examples(args: argparse.Namespace) -> int:
    from sft.formats import write_examples

    if args.contradictions:
        return _contradictions(args)
    data, _ = gather(args, opener(args))
    if args.to:
        count = write_examples(Path(args.to), data, args.format)
        say_json({"rows": count, "file": args.to}) if args.json else say(f"{count} examples written to {args.to} ({args.format})")
        return 0
    if args.json:
        say_json([*data.train, *data.validation])
        return 0
    say(f"{len(data.train)} to train on, {len(data.validation)} to validate, from {len(data.cleaned.kept)} corrections")
    for reason, count in Counter(reason for _, reason in data.cleaned.dropped).most_common():
        say(f"  left out {count}: {reason}")
    for message in data.train[0].messages if data.train else ():
        say(f"\n[{message['role']}]\n{message['content']}")
    return 0


def _contradictions(args: argparse.Namespace) -> int:
    from sft.cleaning import contradictions

    found = open_store(args).corrections()
    numbers = {correction.correction_id: number for number, correction in found}
    groups = contradictions([correction for _, correction in found])
    if args.json:
        say_json([[{"number": numbers[c.correction_id], "correction": c} for c in group] for group in groups])
        return 0
    rows = [(numbers[c.correction_id], c.status, c.at[:10], c.question, c.corrected) for group in groups for c in group]
    table("", ("no.", "status", "at", "question", "corrected answer"), rows)
    say("the latest of each question is learned; `emendo corrections reject NUMBER` settles it" if rows else "no contradictions")
    return 0


def adapters(args: argparse.Namespace) -> int:
    from emendo.config import open_workspace

    return ADAPTER_ACTIONS[args.action](args, open_workspace(args.workspace).adapters)


def _list(args: argparse.Namespace, folder: Path) -> int:
    from sft.adapters import list_adapters

    promoted = open_store(args).promoted()
    cards = list_adapters(folder)
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
    table("", ("adapter", "made", "base", "corrections", "loss", ""), rows, "no adapters; make one with: emendo tune")
    return 0


def _show(args: argparse.Namespace, folder: Path) -> int:
    from sft.adapters import find_adapter, read_card

    card = dataclasses.asdict(read_card(find_adapter(folder, args.adapter)))
    if args.json:
        say_json(card)
        return 0
    long = {"example_hashes", "correction_ids", "clusters"}
    table("", ("", ""), [(key, len(value) if key in long else _plain(value)) for key, value in card.items()])
    return 0


def _plain(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _diff(args: argparse.Namespace, folder: Path) -> int:
    from sft.adapters import differences, find_adapter, read_card

    if not args.other:
        raise UserError("`emendo adapters diff ID ID`: two adapters are needed; `emendo adapters` lists yours")
    one, other = (read_card(find_adapter(folder, name)) for name in (args.adapter, args.other))
    rows = differences(one, other)
    say_json(rows) if args.json else table("", ("", one.adapter_id, other.adapter_id), rows)
    return 0


def _delete(args: argparse.Namespace, folder: Path) -> int:
    from sft.adapters import delete_adapter, find_adapter

    if args.adapter == "latest":
        raise UserError("`emendo adapters delete ID`: which one? `emendo adapters` lists yours")
    name = find_adapter(folder, args.adapter).name
    delete_adapter(folder, name, open_store(args).promoted())
    say_json({"deleted": name}) if args.json else say(f"adapter {name} deleted")
    return 0


def _export(args: argparse.Namespace, folder: Path) -> int:
    from sft.adapters import find_adapter
    from sft.export import export_gguf, export_lora, export_merged

    if not args.to:
        raise UserError("`emendo adapters export ID --to DIR`: the folder is missing")
    adapter, target = find_adapter(folder, args.adapter), Path(args.to)
    done: dict[str, object] = {"adapter": adapter.name, "folder": str(target)}
    if args.merged or args.gguf:
        done["parity"] = parity = export_merged(adapter, target)
        told = f"logits {parity.mean_difference:.4f} from base and adapter (the adapter's effect is {parity.adapter_effect:.4f})"
    else:
        export_lora(adapter, target)
        told = "a LoRA folder, for vLLM: --enable-lora --lora-modules name=DIR"
    if args.gguf:
        done["gguf"] = str(export_gguf(target, Path(args.gguf)))
        told += f"; {done['gguf']}"
    say_json(done) if args.json else say(f"adapter {adapter.name} -> {target}: {told}")
    return 0


ADAPTER_ACTIONS = {"list": _list, "show": _show, "diff": _diff, "delete": _delete, "export": _export}
