"""sweep."""

from __future__ import annotations

import argparse
import dataclasses

from emendo.commands import Commands, add, at_least_one, open_store, opener
from emendo.terminal import progress_bar, say, say_json, table


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "sweep", "find settings for tune, judged on the validation corrections only", sweep)
    parser.add_argument("--model", default="hf:bundled", help="hf:<hub id or path> (default hf:bundled)")
    parser.add_argument("--trials", type=at_least_one, help="how many settings to try in all (default 12)")


def sweep(args: argparse.Namespace) -> int:
    """Run or go on with the sweep; prints the trials, best first, and the file for `emendo tune --set-file`."""
    from emendo.commands.learning import hf_base
    from sft.examples import ExampleSettings
    from sft.ratings import learnable
    from sft.sweep import SweepSettings
    from sft.sweep import sweep as run_sweep
    from sft.train import TuneSettings, as_served

    opened = opener(args)
    settings = opened.settings(SweepSettings, "sweep")
    if args.trials is not None:
        settings = dataclasses.replace(settings, trials=args.trials)
    examples = opened.settings(ExampleSettings, "examples")
    rows = learnable(open_store(args), examples.thumbs_up)
    with progress_bar() as report:

        def progress(done: int, trials: int, figures: dict[str, float]) -> None:
            report("sweep" + "".join(f" ({name} {value:.4f})" for name, value in figures.items()), done, trials)

        found = run_sweep(
            hf_base(args.model),
            rows,
            opened.workspace.root / "sweeps",
            settings,
            as_served(opened, args.model, opened.settings(TuneSettings, "tune")),
            examples,
            progress,
        )
    if args.json:
        say_json({"best": found.best, "trials": found.trials, "file": found.chosen})
        return 0
    ranked = sorted(found.trials, key=lambda trial: (trial.state != "complete", trial.loss or 0.0))
    names = list(found.best.settings)
    told = [
        (trial.number, trial.loss if trial.state == "complete" else "pruned", *(f"{trial.settings[name]:.3g}" for name in names))
        for trial in ranked
    ]
    table("", ("trial", "validation loss", *(name.replace("_", " ") for name in names)), told)
    say(f"\nplot: {found.folder / 'sweep.svg'}")
    say(f"next: emendo tune --set-file {found.chosen}")
    return 0
