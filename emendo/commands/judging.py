"""eval: run, compare, watch, task, ztest."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emendo.commands import QUESTION_ROWS, Commands, add, answering, inspecting, open_store, opener, refusing, same_again, tasks
from emendo.commands.learning import DEFAULT_BASE
from emendo.records import UserError
from emendo.terminal import progress_bar, say, say_json, table

if TYPE_CHECKING:
    from emendo.records import AdapterCard
    from eval.leaks import TrainingText
    from eval.llm_judge import Judge


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "eval", help="is it really better? before/after, comparisons, what the search and a threshold do", parents=[common]
    )
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    run = add(kinds, common, "run", "base against tuned on held-out questions: tests, verdict, report", run_eval)
    run.add_argument("--questions", type=Path, required=True, metavar="FILE.jsonl", help=QUESTION_ROWS)
    run.add_argument("--adapter", default="latest", help="adapter id (default: the newest)")
    run.add_argument(
        "--general", type=Path, metavar="FILE.jsonl", help="general questions (data/general.jsonl), to see what was forgotten"
    )
    run.add_argument("--model", default=DEFAULT_BASE, help=f"hf:<hub id or path> (default {DEFAULT_BASE})")
    run.add_argument("--bits", default="", help="default: what the adapter was tuned with")
    _add_judge(run)
    compare = add(kinds, common, "compare", "two runs on the same questions, as their answers were recorded", compare_runs)
    compare.add_argument("a", metavar="A", help="run folder, or its name in workspace/runs; :ARM chooses an arm")
    compare.add_argument("b", metavar="B", help="the same, after")
    compare.add_argument("--questions", type=Path, required=True, metavar="FILE.jsonl", help=QUESTION_ROWS)
    compare.add_argument("--out", type=Path, default=Path("comparison"), metavar="DIR", help="folder of the report")
    _add_judge(compare)
    watch = add(kinds, common, "watch", "for your CI: fail when the bot answers worse than its baseline", watch_bot)
    watch.add_argument("folder", type=Path, metavar="DIR", help="holds the baseline; the first run makes it")
    watch.add_argument("--questions", type=Path, required=True, metavar="FILE.jsonl", help=QUESTION_ROWS)
    watch.add_argument("--accept", action="store_true", help="make this run the new baseline")
    answering.add_model(watch)
    tasks.add_eval(kinds, common)
    inspecting.add_eval(kinds, common)
    refusing.add_eval(kinds, common)
    ztest = add(kinds, common, "ztest", "z test of trials against a known mean and sd, with its companions", run_ztest)
    ztest.add_argument("values", type=float, nargs="+", help="one figure per trial, e.g. successes of 50")
    ztest.add_argument("--mean", type=float, required=True, help="the historic mean")
    ztest.add_argument("--sd", type=float, required=True, help="the historic standard deviation of one trial")
    ztest.add_argument("--baseline-trials", type=int, help="how many trials the historic mean rests on, where known")
    ztest.add_argument("--of", type=int, dest="trials_size", help="attempts per trial, where the values count successes")
    ztest.add_argument("--alternative", choices=("greater", "less", "two-sided"), default="greater", help="default: greater")


def _add_judge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--judge", default="", metavar="openai:URL#MODEL", help="a language model compares the answers, too")
    parser.add_argument("--judge-labels", type=Path, metavar="FILE.jsonl", help="what people preferred: id, preferred")


def _referee(args: argparse.Namespace, tested: Sequence[str]) -> Judge | None:
    from emendo.chat_models import load_chat_model
    from eval.llm_judge import MAX_NEW_TOKENS, Judge, check_judge, load_labels

    if not args.judge:
        if args.judge_labels:
            raise UserError("--judge-labels says how far people agree with a judge; name one with --judge openai:URL#MODEL")
        return None
    check_judge(args.judge, tested)
    labels = load_labels(args.judge_labels) if args.judge_labels else {}
    return Judge(args.judge, load_chat_model(args.judge, max_new_tokens=MAX_NEW_TOKENS), labels)


def run_eval(args: argparse.Namespace) -> int:
    """The exit code is the verdict: 0 PROMOTE, 1 REJECT, 2 INCONCLUSIVE, 3 INVALID."""
    from emendo.judging import Trial
    from eval.gate import Policy
    from eval.questions import load_questions
    from sft.adapters import find_adapter, read_card
    from sft.ratings import learned_from

    opened = opener(args)
    questions = load_questions(args.questions)
    folder = find_adapter(opened.workspace.adapters, args.adapter)
    card = read_card(folder)
    rows = learned_from(open_store(args))
    referee = _referee(args, [args.model])
    named = ("questions", "model", "bits", "general", "judge", "judge_labels")
    command = same_again(args, "eval", "run", adapter=card.adapter_id, **{name: getattr(args, name) for name in named})
    with progress_bar() as report:
        trial = Trial(opened, args.model, args.bits or card.settings["bits"], questions, opened.retriever(), report)
        trial.general = load_questions(args.general) if args.general else ()
        trial.referee = referee
        out = trial.run_folder(card.adapter_id)
        judged = trial.judge(folder, card, rows, out, opened.settings(Policy, "policy"), command)
    say_json(judged) if args.json else show_report(judged)
    if judged.verdict == "PROMOTE" and not args.json:
        say(f"next: {same_again(args, 'promote', card.adapter_id)}")
    return judged.exit_code


def compare_runs(args: argparse.Namespace) -> int:
    """The exit code is the verdict on B: 0 PROMOTE, 1 REJECT, 2 INCONCLUSIVE, 3 INVALID."""
    from eval.compare import Background
    from eval.gate import Policy
    from eval.history import count_attempts
    from eval.questions import load_questions
    from eval.watch import compare_runs as compare
    from eval.watch import load_run

    opened = opener(args)
    questions = load_questions(args.questions)
    first, second = (load_run(questions, place, opened.workspace.runs) for place in (args.a, args.b))
    card, texts = _learned(args, str(second.manifest.get("adapter_id") or ""))
    named = {name: getattr(args, name) for name in ("questions", "out", "judge", "judge_labels")}
    background = Background(
        training=card,
        training_texts=texts,
        encode=opened.embedder().encode if card else None,
        attempts=count_attempts(opened.workspace.runs, questions, card.adapter_id) if card else 1,
        command=same_again(args, "eval", "compare", args.a, args.b, **named),
        referee=_referee(args, [str(arm.manifest.get("model_id", "")) for arm in (first, second)]),
    )
    judged = compare(questions, first, second, args.out, opened.settings(Policy, "policy"), background)
    say_json(judged) if args.json else show_report(judged, "A", "B")
    return judged.exit_code


def _learned(args: argparse.Namespace, adapter_id: str) -> tuple[AdapterCard | None, list[TrainingText] | None]:
    """Card and training texts of an adapter of this workspace; None where it is not here, which the comparison then says."""
    from emendo.config import open_workspace
    from emendo.judging import training_texts
    from sft.adapters import list_adapters
    from sft.ratings import learned_from

    cards = [card for card in list_adapters(open_workspace(args.workspace).adapters) if card.adapter_id == adapter_id]
    if not cards:
        return None, None
    return cards[0], training_texts(cards[0], learned_from(open_store(args)))


def watch_bot(args: argparse.Namespace) -> int:
    """The exit code is for CI: 0 no regression or a new baseline, 1 regression, 2 inconclusive, 3 invalid."""
    from eval.gate import Policy
    from eval.questions import load_questions
    from eval.watch import watch

    questions = load_questions(args.questions)
    policy = opener(args).settings(Policy, "policy")
    answerer = answering.open_answerer(args)
    named = {name: getattr(args, name) for name in ("questions", "model", "bits", "adapter")}
    command = same_again(args, "eval", "watch", args.folder, **named)
    with progress_bar() as report:
        judged = watch(questions, answerer, args.folder, policy, report, args.accept, command)
    if judged is None:
        say_json({"verdict": "BASELINE"}) if args.json else say(f"{len(questions)} answers are the baseline in {args.folder}")
        return 0
    say_json(judged) if args.json else show_report(judged, "baseline", "now")
    return judged.exit_code


def show_report(report, before="base", after="tuned") -> None:  # type: ignore[no-untyped-def]
    """Every metric with its interval and test, the verdict, and where the whole report is."""
    from eval.method import changed

    rows = []
    for row in report.rows:
        test = row.comparison
        if test is None:
            continue
        low, high = test.interval.low, test.interval.high
        interval = f"[{low:+.3f}, {high:+.3f}]" if low < high and math.isfinite(high - low) else "no interval"
        name = row.metric.name if row.rag else f"{row.metric.name} (no manuals)"
        rows.append((name, row.before.value, row.after.value, f"{test.difference:+.3f}", interval, f"{test.p:.2g}", test.n))
    say()
    table("", ("metric", before, after, "difference", "95 % interval", "p", "n"), rows)
    for own in report.tables:
        say()
        table(own.title, own.columns, own.rows)
    say(f"\n{report.verdict}: {report.reason}")
    if report.primary:
        say(changed(report.primary))
    say(f"report: {report.html}")


def run_ztest(args: argparse.Namespace) -> int:
    from eval.trials import ztest_report

    text, figures = ztest_report(
        args.values,
        args.mean,
        args.sd,
        args.alternative,
        baseline_trials=args.baseline_trials,
        trials_size=args.trials_size,
    )
    say_json(figures) if args.json else say(text)
    return 0
