"""tune --preference and --thumbs."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from emendo.commands import open_store, opener
from emendo.commands.tuning import gather
from emendo.records import AdapterCard
from emendo.terminal import progress_bar, say, say_json

if TYPE_CHECKING:
    from sft.train import Progress


def tune_preference(args: argparse.Namespace) -> int:
    """From the adapter named by --preference, towards the corrected answers and away from the rejected ones."""
    from sft.adapters import find_adapter
    from sft.preference import PreferenceSettings, prefer

    opened = opener(args)
    parent = find_adapter(opened.workspace.adapters, args.preference)
    data, rows = gather(args, opened)
    settings = opened.settings(PreferenceSettings, "preference")
    by_id = {row.correction_id: row for row in rows}
    return _shown(args, lambda progress: prefer(parent, data, by_id, opened.workspace.adapters, settings, progress))


def tune_thumbs(args: argparse.Namespace) -> int:
    """From the adapter named by --thumbs, towards the answers that users liked and away from those they did not."""
    from rag.answer import AnswerSettings
    from sft.adapters import find_adapter
    from sft.ratings import rated_answers
    from sft.thumbs import ThumbsSettings, learn_thumbs

    opened = opener(args)
    parent = find_adapter(opened.workspace.adapters, args.thumbs)
    settings = opened.settings(ThumbsSettings, "thumbs")
    rated, dropped = rated_answers(open_store(args), opened.settings(AnswerSettings, "answer").history_turns)
    if not args.json:
        ups = sum(one.liked for one in rated)
        say(f"{len(rated)} rated answers: {ups} up, {len(rated) - ups} down")
        for reason, count in Counter(reason for _, reason in dropped).most_common():
            say(f"  left out {count}: {reason}")
    return _shown(args, lambda progress: learn_thumbs(parent, rated, opened.workspace.adapters, settings, progress))


def _shown(args: argparse.Namespace, run: Callable[[Progress], AdapterCard]) -> int:
    from emendo.commands.learning import show_card

    with progress_bar() as report:
        card = run(lambda step, steps, figures: report(f"tuning (loss {figures.get('loss', 0):.3f})", step, steps))
    say_json(card) if args.json else show_card(card)
    return 0
