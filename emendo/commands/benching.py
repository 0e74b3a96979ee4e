"""bench: which model answers best, at what latency and cost."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emendo.commands import QUESTION_ROWS, Commands, add, opener
from emendo.records import UserError
from emendo.terminal import progress_bar, say, say_json, table

if TYPE_CHECKING:
    from eval.bench import Standing
    from eval.evaluation import Estimate

COLUMNS = ("answered", "refused rightly", "leader ahead by", "s p50 / p95", "tokens in / out", "per 1000")  # after the score


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "bench", "a leaderboard of models and adapters on a question file", run_bench)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="model spec; hf:<base>+<adapter id, `latest` or folder>")
    parser.add_argument("--questions", type=Path, required=True, metavar="FILE.jsonl", help=QUESTION_ROWS)
    parser.add_argument("--bits", default="", help="auto | nf4 | bf16 | fp32, for hf: models (an adapter brings its own)")
    parser.add_argument(
        "--price", action="append", default=[], metavar="MODEL=IN,OUT", help="per million tokens in and out, in any currency"
    )


def run_bench(args: argparse.Namespace) -> int:
    from emendo.chat_models import check_spec
    from eval.bench import Contender, bench
    from eval.gate import Policy
    from eval.questions import load_questions, questions_sha256
    from rag.retrieve import Retriever

    opened = opener(args)
    questions = load_questions(args.questions)
    prices = dict(_price(text, args.models) for text in args.price)
    for model in args.models:
        check_spec(model)
    specs = {model: _adapter(model, opened.workspace.adapters) for model in args.models}  # a wrong one is told before all asking
    embedder = opened.embedder()
    retriever: Retriever = opened.retriever(embedder)

    def maker(model: str) -> Any:
        def make() -> Any:
            return opened.answerer(retriever, opened.chat_model(*specs[model], args.bits))

        return make

    contenders = [Contender(model, maker(model), *prices.get(model, (None, None))) for model in args.models]
    out = opened.workspace.runs / f"bench-{questions_sha256(questions)[:8]}-{retriever.index.index_id[:8]}"
    primary = opened.settings(Policy, "policy").primary
    with progress_bar() as report:
        standings = bench(questions, contenders, out, primary, report)
    if args.json:
        say_json(standings)
        return 0
    columns = ("", "model", primary, *COLUMNS)
    table("", columns, [_row(rank, standing) for rank, standing in enumerate(standings, 1)])
    say(f"\n{len(questions)} questions, 95 % intervals; p: the leader, chosen on them, is better (Holm). Answers: {out}")
    return 0


def _row(rank: int, s: Standing) -> tuple[object, ...]:
    behind = "" if s.behind is None else f"{s.behind:+.3f} (p {s.p_behind:.2g})"
    latency = "" if s.p50 is None else f"{s.p50:.2f} / {s.p95:.2f}"
    tokens = f"{s.tokens_in:.0f} / {s.tokens_out:.0f}" + " est." * s.tokens_estimated
    cost = "" if s.cost_per_1000 is None else f"{s.cost_per_1000:.2f}"
    shares = (_shown(s.score) or s.reason, _shown(s.answered), _shown(s.refused_unanswerable))
    return (rank, s.name, *shares, behind, latency, tokens, cost)


def _adapter(model: str, adapters: Path) -> tuple[str, str]:
    """(spec without adapter, adapter folder) of `hf:base+adapter`, the adapter an id of this workspace or a folder."""
    from sft.adapters import find_adapter

    base, plus, name = model.partition("+")
    if not plus or not base.startswith("hf:"):
        return model, ""
    return base, name if Path(name).is_dir() else str(find_adapter(adapters, name))


def _price(text: str, models: list[str]) -> tuple[str, tuple[float, float]]:
    model, _, figures = text.rpartition("=")
    try:
        price_in, price_out = (float(figure) for figure in figures.split(","))
        if not all(0 <= price < math.inf for price in (price_in, price_out)):
            raise ValueError("a price is a number, 0 or more")
    except ValueError as error:
        raise UserError(f"--price {text}: expected MODEL=IN,OUT, for example --price 'openai:...#small=0.15,0.60'") from error
    if model not in models:
        raise UserError(f"--price {text}: {model!r} is not among the models ({', '.join(models)})")
    return model, (price_in, price_out)


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.3f} [{estimate.interval.low:.3f}, {estimate.interval.high:.3f}]"
