"""eval: run, compare, ztest."""

from __future__ import annotations

import argparse
from pathlib import Path

from emendo.commands import Commands, add, open_store, opener
from emendo.commands.learning import DEFAULT_BASE
from emendo.terminal import progress_bar, say, say_json, table


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("eval", help="is the tuned model really better? run, ztest", parents=[common])
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    run = add(kinds, common, "run", "base against tuned on held-out questions: tests, verdict, report", run_eval)
    run.add_argument("--questions", type=Path, required=True, metavar="FILE.jsonl")
    run.add_argument("--adapter", default="latest", help="adapter id (default: the newest)")
    run.add_argument("--model", default=DEFAULT_BASE)
    run.add_argument("--bits", default="", help="default: what the adapter was tuned with")
    ztest = add(kinds, common, "ztest", "z test of trials against a known mean and sd, with its companions", run_ztest)
    ztest.add_argument("values", type=float, nargs="+", help="one figure per trial, e.g. successes of 50")
    ztest.add_argument("--mean", type=float, required=True, help="the historic mean")
    ztest.add_argument("--sd", type=float, required=True, help="the historic standard deviation of one trial")
    ztest.add_argument("--baseline-trials", type=int, help="how many trials the historic mean rests on, where known")
    ztest.add_argument("--of", type=int, dest="trials_size", help="attempts per trial, where the values count successes")
    ztest.add_argument("--alternative", choices=("greater", "less", "two-sided"), default="greater")


def run_eval(args: argparse.Namespace) -> int:
    """The exit code is the verdict: 0 PROMOTE, 1 REJECT, 2 INCONCLUSIVE, 3 INVALID."""
    from emendo.judging import Trial
    from eval.gate import Policy
    from eval.questions import load_questions
    from sft.adapters import find_adapter, read_card

    opened = opener(args)
    questions = load_questions(args.questions)
    folder = find_adapter(opened.workspace.adapters, args.adapter)
    card = read_card(folder)
    rows = [correction for _, correction in open_store(args).corrections()]
    with progress_bar() as report:
        trial = Trial(opened, args.model, args.bits or card.settings["bits"], questions, opened.retriever(), report)
        out = trial.run_folder(card.adapter_id)
        judged = trial.judge(folder, card, rows, out, opened.settings(Policy, "policy"))
    say_json(judged) if args.json else show_report(judged)
    return judged.exit_code


def show_report(report) -> None:  # type: ignore[no-untyped-def]
    """Every metric with its interval and test, the verdict, and where the whole report is."""
    rows = []
    for row in report.rows:
        test = row.comparison
        if test is None:
            continue
        interval = f"[{test.interval.low:+.3f}, {test.interval.high:+.3f}]"
        name = row.metric.name if row.rag else f"{row.metric.name} (no manuals)"
        rows.append((name, row.before.value, row.after.value, f"{test.difference:+.3f}", interval, f"{test.p:.2g}", test.n))
    say()
    table("", ("metric", "base", "tuned", "difference", "95 % interval", "p", "n"), rows)
    say(f"\n{report.verdict}: {report.reason}")
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
