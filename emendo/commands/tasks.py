"""task, eval task, tune --task: jobs beyond chat, each described by one task file (docs/tasks.md)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emendo.commands import Commands, add, opener, same_again
from emendo.commands.learning import DEFAULT_BASE, run_tune, show_card, with_bits
from emendo.commands.tuning import run_check
from emendo.records import UserError
from emendo.terminal import progress_bar, say, say_json

if TYPE_CHECKING:
    from eval.task_run import TaskAnswerer, TaskContext
    from rag.assemble import Opener
    from sft.tasks import Task, TaskRow


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "task", "do one task (label, list, spans, text) on an input, as its task file says", run_task)
    parser.add_argument("file", type=Path, metavar="TASK.toml", help="data/tasks/ has examples, docs/tasks.md explains them")
    parser.add_argument("input", help="the text to work on")
    _add_model(parser, "adapter id, `latest` or `none` (default: none)", "none")


def add_eval(kinds: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(kinds, common, "task", "base against tuned on a task's test rows: tests, verdict, report", eval_task)
    parser.add_argument("file", type=Path, metavar="TASK.toml", help="data/tasks/ has examples, docs/tasks.md explains them")
    _add_model(parser, "adapter id (default: the task's newest)", "latest")


def _add_model(parser: argparse.ArgumentParser, adapter_help: str, adapter: str) -> None:
    parser.add_argument("--model", default=DEFAULT_BASE, help=f"a model spec (default {DEFAULT_BASE})")
    parser.add_argument("--bits", default="", help="auto | nf4 | bf16 | fp32, for hf: models")
    parser.add_argument("--adapter", default=adapter, help=adapter_help)


@dataclasses.dataclass
class _Desk:
    """A task opened: its rows, its context and the folder of its own adapters, runs and index."""

    task: Task
    training: list[TaskRow]
    context: TaskContext
    own: Opener  # the task's folder in the workspace
    main: Opener  # for settings

    def answerer(self, model: Any) -> TaskAnswerer:
        from eval.task_run import TaskAnswerer

        return TaskAnswerer(self.task, model, self.context)


def run_task(args: argparse.Namespace) -> int:
    from rag.answer import Ask
    from sft.adapters import find_adapter

    desk = _open(args)
    adapter = "" if args.adapter == "none" else str(find_adapter(desk.own.workspace.adapters, args.adapter))
    [answer] = desk.answerer(desk.main.chat_model(args.model, adapter, args.bits)).answer_many([Ask(args.input)])
    say_json({"input": args.input, "output": answer.text, "adapter": answer.adapter_id}) if args.json else say(answer.text)
    return 0


def tune_task(args: argparse.Namespace) -> int:
    from sft.tasks import as_correction, build_task_examples
    from sft.train import TuneSettings

    desk = _open(args)
    data = build_task_examples(desk.task, desk.training, desk.context)
    rows = [as_correction(row) for row in desk.training]
    if args.action == "check":
        return run_check(args, data, rows, with_bits(desk.main.settings(TuneSettings, "tune"), args.bits))
    if not args.json:
        say(f"{len(data.train)} training and {len(data.validation)} validation rows of task {desk.task.name}")
    card = run_tune(desk.own, args.model, args.bits, data, rows, desk.main.settings(TuneSettings, "tune"))
    if args.json:
        say_json(card)
        return 0
    show_card(card, f"emendo eval task {args.task}")
    return 0


def eval_task(args: argparse.Namespace) -> int:
    """The exit code is the verdict: 0 PROMOTE, 1 REJECT, 2 INCONCLUSIVE, 3 INVALID."""
    from emendo.commands.judging import show_report
    from eval.gate import Policy
    from eval.history import count_attempts
    from eval.questions import questions_sha256
    from eval.task_run import as_question, evaluate_task
    from sft.adapters import find_adapter, read_card
    from sft.tasks import load_rows

    desk = _open(args)
    rows = load_rows(desk.task, desk.task.test)
    folder = find_adapter(desk.own.workspace.adapters, args.adapter)
    card = read_card(folder)
    bits = args.bits or card.settings["bits"]
    model: Any = desk.main.chat_model(args.model, "", bits)

    def arm(adapter: str) -> Any:
        def make() -> TaskAnswerer:
            model.set_adapter(adapter or None)
            return desk.answerer(model)

        return make

    questions = [as_question(desk.task, row) for row in rows]
    runs = desk.own.workspace.runs
    out = runs / f"{questions_sha256(questions)[:8]}-{bits}-{card.adapter_id}"
    with progress_bar() as report:
        judged = evaluate_task(
            desk.task,
            rows,
            desk.training,
            arm(""),
            arm(str(folder)),
            out,
            card,
            desk.main.settings(Policy, "policy"),
            encode=desk.context.embedder.encode if desk.context.embedder else None,
            progress=report,
            losses=json.loads((folder / "losses.json").read_text(encoding="utf-8")),
            attempts=count_attempts(runs, questions, card.adapter_id),
            command=same_again(args, "eval", "task", args.file, model=args.model, adapter=card.adapter_id, bits=bits),
        )
    say_json(judged) if args.json else show_report(judged)
    return judged.exit_code


def _open(args: argparse.Namespace) -> _Desk:
    from emendo.config import Workspace
    from eval.task_run import TaskContext
    from rag.assemble import Opener
    from sft.tasks import load_rows, load_task

    file: Path = getattr(args, "task", None) or args.file
    task = load_task(file)
    main = opener(args)
    main.check_model(args.model)
    if not re.fullmatch(r"[\w-]+", task.name):
        raise UserError(f"{file}: name {task.name!r} is used as a folder; use letters, digits, - and _ only")
    own = Opener(Workspace(main.workspace.root / "tasks" / task.name), main.overrides)
    own.workspace.root.mkdir(parents=True, exist_ok=True)
    embedder = main.embedder()
    training = load_rows(task, task.train)
    retriever = _retriever(own, task, embedder) if task.documents else None
    return _Desk(task, training, TaskContext(task, training, embedder, retriever), own, main)


def _retriever(own: Opener, task: Task, embedder: Any) -> Any:
    """Over the task's documents; indexing what has not changed costs nothing."""
    from rag.ingest import ingest

    with progress_bar() as report:
        ingest(own.workspace.index, Path(task.documents), embedder, progress=report)
    return own.retriever(embedder)
