"""tune --preference."""

from __future__ import annotations

import argparse

from emendo.commands import opener
from emendo.commands.tuning import gather
from emendo.terminal import progress_bar, say_json


def tune_preference(args: argparse.Namespace) -> int:
    """From the adapter named by --preference, towards the corrected answers and away from the rejected ones."""
    from emendo.commands.learning import show_card
    from sft.adapters import find_adapter
    from sft.preference import PreferenceSettings, prefer

    opened = opener(args)
    parent = find_adapter(opened.workspace.adapters, args.preference)
    data, rows = gather(args, opened)
    settings = opened.settings(PreferenceSettings, "preference")
    by_id = {row.correction_id: row for row in rows}
    with progress_bar() as report:
        card = prefer(
            parent,
            data,
            by_id,
            opened.workspace.adapters,
            settings,
            lambda step, steps, figures: report("preferring (" + f"loss {figures.get('loss', 0):.3f})", step, steps),
        )
    say_json(card) if args.json else show_card(card)
    return 0
