"""eval refusal: the confidence below which the bot says that the manual does not say, fitted on questions of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from emendo.commands import QUESTION_ROWS, Commands, add, opener
from emendo.files import write_whole
from emendo.records import to_json
from emendo.terminal import progress_bar, say, say_json, table


def add_eval(kinds: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(kinds, common, "refusal", "when to refuse: fitted on your answerable and unanswerable questions", fit)
    parser.add_argument("--questions", type=Path, required=True, metavar="FILE.jsonl", help=QUESTION_ROWS)
    parser.add_argument("--product", default="", help="ask about this product only (default: what each row says)")
    parser.add_argument(
        "--wrongly", type=float, default=0.08, metavar="SHARE", help="answerable questions that may be refused (default 0.08)"
    )


def fit(args: argparse.Namespace) -> int:
    """Print the curve, keep the threshold in the workspace: `ask`, `chat` and `serve` use it from then on."""
    from eval.questions import load_questions, questions_sha256
    from eval.refusal import fit_refusal, risk_coverage

    opened = opener(args)
    questions = load_questions(args.questions)
    retriever = opened.retriever()
    answerable, confidences = [question.answerable for question in questions], []
    with progress_bar() as report:
        for done, question in enumerate(questions, 1):
            product = retriever.product_for(question.question, question.product or args.product)
            hits = retriever.search(question.question, product=product)
            confidences.append(retriever.confidence(question.question, hits, product=product))
            report("asking", done, len(questions))
    found = fit_refusal(confidences, answerable, args.wrongly, questions_sha256(questions), retriever.index.index_id)
    curve = risk_coverage(confidences, answerable)
    write_whole(opened.workspace.refusal, to_json(found) + "\n")
    if args.json:
        say_json({"fit": found, "curve": curve})
        return 0
    columns = ("refuse below", "answered", "of them unanswerable", "refused rightly", "refused wrongly")
    table(
        "Risk and coverage",
        columns,
        [
            tuple(f"{value:.3f}" for value in (p.threshold, p.coverage, p.risk, p.refused_rightly, p.refused_wrongly))
            for p in curve
        ],
    )
    say(f"\nAUROC {found.auroc:.3f}; {found.answerable} answerable, {found.unanswerable} unanswerable questions")
    for name, point in (("on these questions", found.fitted), ("held out (five folds)", found.held_out)):
        say(f"{name}: {point.refused_rightly:.1%} of the unanswerable refused, {point.refused_wrongly:.1%} of the answerable")
    say(f"refuse below {found.refuse_below:.3f}, kept in {opened.workspace.refusal}; delete that file to return to the default")
    return 0
