"""A search for good [tune] settings: many short runs, judged on the validation corrections alone (Optuna, resumable)."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emendo.chat_models import resolve_base
from emendo.files import write_whole
from emendo.records import Correction, UserError, content_id
from sft.arguments import learning_rate_for
from sft.estimate import memory_of
from sft.examples import ExampleSet, ExampleSettings, build_examples
from sft.sweep_plot import plot
from sft.train import TuneSettings, tune, with_loss


@dataclass(frozen=True)
class SweepSettings:
    """[sweep] in emendo.toml."""

    trials: int = 12  # runs in all, the first with the settings as they are
    span: float = 8.0  # learning rates from the default divided by this to the default times this
    ranks: str = "8,16,32"  # of the adapters, to choose from
    epochs: str = "1,2,4"  # to choose from
    mixes: str = "0,0.12,0.25"  # examples.refusal_share
    share: float = 1.0  # of the training examples, for quicker trials
    seed: int = 7  # of Optuna's sampler

    def __post_init__(self) -> None:
        if self.trials < 1 or not self.span >= 1 or not 0 < self.share <= 1:
            raise ValueError("expected trials of at least 1, a span of at least 1, and a share above 0 and up to 1")
        for name in ("ranks", "epochs", "mixes"):
            numbers(getattr(self, name), name)


@dataclass(frozen=True)
class Trial:
    number: int
    state: str  # complete | pruned
    loss: float | None  # on the validation rows, nats
    settings: dict[str, float]


@dataclass(frozen=True)
class Sweep:
    folder: Path
    best: Trial
    trials: tuple[Trial, ...]

    @property
    def chosen(self) -> Path:
        """The file that `emendo tune --set-file` takes."""
        return self.folder / "best.toml"


Report = Callable[[int, int, dict[str, float]], None]  # (trials done, trials, {"best": ..., "loss": ...})


def sweep(
    base: str,
    corrections: Sequence[Correction],
    folder: Path,
    settings: SweepSettings,
    tuning: TuneSettings,
    examples: ExampleSettings,
    report: Report,
) -> Sweep:
    """Try settings until `settings.trials` are judged; the first try is what `emendo tune` would do without a sweep.

    All is kept in a folder named after base, corrections and settings, so the same call goes on with an interrupted sweep, and
    with the trial that was running. UserError when there are no validation rows to judge on.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    base = resolve_base(base)
    data = build_examples(corrections, examples)
    if not data.validation:
        raise UserError("a sweep is judged on validation rows and there are none; raise --set examples.validation_share=0.1")
    tuning = with_loss(base, data, tuning)
    space = [dataclasses.asdict(value) for value in (dataclasses.replace(settings, trials=1), tuning, examples)]
    identity = content_id(base, json.dumps(space), *data.hashes, length=12)
    folder = folder / identity
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(study_name="sweep", storage=f"sqlite:///{folder / 'study.db'}", load_if_exists=True)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    study.sampler = optuna.samplers.TPESampler(seed=settings.seed + len(study.trials), n_startup_trials=5)
    parameters = memory_of(base, "bf16", 1).weights // 2
    usual = tuning.learning_rate or learning_rate_for(parameters, tuning.loss)
    if not study.trials:
        study.enqueue_trial(_defaults(settings, tuning, examples, usual))
    if study.trials and study.trials[-1].state.name in ("RUNNING", "FAIL"):  # killed or stopped
        cut = study.trials[-1]
        if cut.state.name == "RUNNING":
            study.tell(cut.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(cut.params)  # its run goes on from its last checkpoint
    by_id = {correction.correction_id: correction for correction in corrections}

    def judge(trial: Any) -> float:
        rate = trial.suggest_float("learning_rate", usual / settings.span, usual * settings.span, log=True)
        rank = trial.suggest_categorical("rank", [int(n) for n in numbers(settings.ranks, "ranks")])
        epochs = trial.suggest_categorical("epochs", numbers(settings.epochs, "epochs"))
        mix = trial.suggest_categorical("refusal_share", numbers(settings.mixes, "mixes"))
        rows = _part(build_examples(corrections, dataclasses.replace(examples, refusal_share=mix)), settings)
        tried = dataclasses.replace(tuning, learning_rate=rate, rank=rank, alpha=2 * rank, epochs=epochs)
        return _run(base, rows, by_id, folder / "runs", tried, trial)

    while (done := len(_finished(study))) < settings.trials:
        report(done, settings.trials, {"best": study.best_value} if _complete(study) else {})
        study.optimize(judge, n_trials=1)
    if not _complete(study):
        raise UserError(
            f"the loss of all {done} trials became infinite or not a number; lower --set tune.learning_rate={usual:.3g}"
        )
    report(done, settings.trials, {"best": study.best_value})
    return _write(study, folder)


def _run(base: str, rows: ExampleSet, by_id: dict[str, Correction], runs: Path, tried: TuneSettings, trial: Any) -> float:
    """Validation loss of what the run would publish; the adapter itself is not kept."""
    import optuna

    from sft.trainer import Diverged

    seen: list[float] = []

    def watch(step: int, steps: int, figures: dict[str, float]) -> None:
        if "validation_loss" in figures:
            seen.append(figures["validation_loss"])
            trial.report(seen[-1], step=len(seen))
            if step < steps and trial.should_prune():
                raise optuna.TrialPruned

    try:
        card = tune(base, rows, by_id, runs, tried, watch)
    except (optuna.TrialPruned, Diverged) as error:
        shutil.rmtree(runs)  # trials run one after the other: nothing else is in there
        raise optuna.TrialPruned from error
    shutil.rmtree(runs)
    return card.losses["validation_best" if tried.keep_best or tried.patience else "validation_last"]


def _defaults(settings: SweepSettings, tuning: TuneSettings, examples: ExampleSettings, rate: float) -> dict[str, float]:
    """The settings of a run without a sweep, each moved to the nearest that is tried."""

    def near(text: str, value: float) -> float:
        return min(numbers(text, ""), key=lambda number: abs(number - value))

    return {
        "learning_rate": rate,
        "rank": int(near(settings.ranks, tuning.rank)),
        "epochs": near(settings.epochs, tuning.epochs),
        "refusal_share": near(settings.mixes, examples.refusal_share),
    }


def _part(data: ExampleSet, settings: SweepSettings) -> ExampleSet:
    """A share of the training examples, evenly spread over them; the validation examples are all kept."""
    count = max(1, round(settings.share * len(data.train)))
    chosen = tuple(data.train[int(n * len(data.train) / count)] for n in range(count))
    return dataclasses.replace(data, train=chosen)


def numbers(text: str, name: str) -> list[float]:
    """The numbers of `8,16,32`; ValueError when one is none."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{name} = {text}: expected numbers separated by commas") from None


def _finished(study: Any) -> list[Any]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in ("COMPLETE", "PRUNED")]


def _complete(study: Any) -> bool:
    return any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False))


def _write(study: Any, folder: Path) -> Sweep:
    """best.toml, trials.json and sweep.svg."""
    trials = tuple(
        Trial(number, trial.state.name.lower(), trial.value, dict(trial.params))
        for number, trial in enumerate(_finished(study), 1)
    )
    best = min((trial for trial in trials if trial.state == "complete"), key=lambda trial: trial.loss or 0.0)
    chosen = best.settings
    lines = [
        f"# validation loss {best.loss:.4f} nats, the best of {len(trials)} trials",
        "[tune]",
        f"learning_rate = {chosen['learning_rate']:.3g}",
        f"rank = {chosen['rank']:.0f}",
        f"alpha = {2 * chosen['rank']:.0f}",
        f"epochs = {chosen['epochs']:g}",
        "",
        "[examples]",
        f"refusal_share = {chosen['refusal_share']:g}",
    ]
    write_whole(folder / "best.toml", "\n".join(lines) + "\n")
    write_whole(folder / "trials.json", json.dumps([dataclasses.asdict(trial) for trial in trials], indent=1))
    drawn = [
        (trial.settings, trial.loss, trial is best) for trial in trials if trial.state == "complete" and trial.loss is not None
    ]
    write_whole(folder / "sweep.svg", plot(drawn))
    return Sweep(folder, best, trials)
