"""The sweep: judged on validation rows, resumed where it was cut, its choice taken by `emendo tune`."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree
from pathlib import Path

import pytest
from test_sft_train import variants

from emendo.config import file_overrides, load_settings
from emendo.records import UserError
from sft.examples import ExampleSettings
from sft.sweep import SweepSettings, sweep
from sft.sweep_plot import plot
from sft.train import TuneSettings

TUNING = TuneSettings(dropout=0.0, learning_rate=1e-3, batch_size=2, max_tokens=4096, save_steps=1)
EXAMPLES = ExampleSettings(orders=1, validation_share=0.25)
SETTINGS = SweepSettings(trials=3, ranks="4,8", epochs="1,2", mixes="0,0.5")


class Cut(Exception):
    """Stands for a kill."""


def distinct(correction):
    """Corrections that are no near-duplicates of each other, as the leak check wants them."""
    answers = ("Descale it every 3 months. [1]", "Use citric acid only. [1]", "It draws 2,200 W. [2]", "Amber is 95 °C. [3]")
    pairs = zip(variants(correction, 4), answers, strict=True)
    return [dataclasses.replace(row, corrected=answer) for row, answer in pairs]


def test_a_cut_sweep_goes_on_and_its_choice_is_the_lowest_validation_loss(tiny_model, tmp_path, correction, monkeypatch):
    rows = distinct(correction)

    def cut_in_the_second(done: int, trials: int, figures: dict[str, float]) -> None:
        if done == 1:
            monkeypatch.setattr("sft.trainer.memory_gib", cut)  # read at each logged step

    def cut() -> float:
        raise Cut

    def go(report):
        return sweep(str(tiny_model), rows, tmp_path, SETTINGS, TUNING, EXAMPLES, report)

    with pytest.raises(Cut):
        go(cut_in_the_second)
    monkeypatch.undo()
    seen = []
    found = go(lambda done, trials, figures: seen.append(done))
    assert seen[0] == 1, "the finished trial is not tried again"
    assert len(found.trials) == 3
    assert found.trials[0].settings["learning_rate"] == 1e-3, "the first is what tune does without a sweep"
    runs = [trial["settings"] for trial in json.loads((found.folder / "trials.json").read_text())]
    assert len({json.dumps(run) for run in runs}) == 3
    judged = [trial.loss for trial in found.trials if trial.state == "complete"]
    assert found.best.loss == min(judged)
    chosen = load_settings(TuneSettings, "tune", file_overrides(found.chosen))
    assert chosen.learning_rate == pytest.approx(found.best.settings["learning_rate"], rel=0.01)
    assert chosen.rank == found.best.settings["rank"]
    assert len(json.loads((found.folder / "trials.json").read_text())) == 3
    assert not list(found.folder.glob("runs/*")), "no adapter of a trial is kept"


def test_without_validation_rows_there_is_nothing_to_judge_on(tiny_model, tmp_path, correction):
    with pytest.raises(UserError, match="validation_share"):
        sweep(str(tiny_model), [correction], tmp_path, SETTINGS, TUNING, ExampleSettings(validation_share=0), lambda *_: None)


def test_the_plot_has_a_dot_for_each_trial_in_each_panel_and_needs_no_other_file():
    settings = {"learning_rate": 1e-3, "rank": 8, "epochs": 2.0, "refusal_share": 0.0}
    drawn = plot([(settings, 1.5, True), ({**settings, "learning_rate": 2e-3}, 1.7, False), (settings, 1.6, False)])
    circles = xml.etree.ElementTree.fromstring(drawn).findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 4 * 3
    assert sum(circle.get("class") == "best" for circle in circles) == 4
    assert "href" not in drawn
    plot([(settings, 1.5, True)])  # a single trial has no span


def test_bad_sweep_settings_and_files_are_named(tmp_path):
    with pytest.raises(UserError, match="ranks = 8;16"):
        load_settings(SweepSettings, "sweep", ["sweep.ranks=8;16"])
    with pytest.raises(UserError, match="no such file"):
        file_overrides(Path(tmp_path / "none.toml"))
    (tmp_path / "flat.toml").write_text("rank = 8\n")
    with pytest.raises(UserError, match="`rank` stands in no section"):
        file_overrides(tmp_path / "flat.toml")


def test_a_settings_file_stands_between_the_workspace_and_set(tmp_path, capsys):
    from emendo.cli import main
    from emendo.config import open_workspace

    (open_workspace(str(tmp_path)).settings).write_text("[tune]\nrank = 4\nepochs = 1\nseed = 1\n")
    (tmp_path / "best.toml").write_text("[tune]\nrank = 8\nepochs = 2.0\n\n[examples]\nrefusal_share = 0.25\n")
    given = [*file_overrides(tmp_path / "best.toml"), "tune.epochs=3"]
    found = load_settings(TuneSettings, "tune", given, tmp_path / "emendo.toml")
    assert (found.rank, found.epochs, found.seed) == (8, 3.0, 1)
    assert main(["--workspace", str(tmp_path), "--set-file", str(tmp_path / "no.toml"), "tune", "check"]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_sweep_tunes_with_the_loss_that_a_run_would_have(tmp_path, monkeypatch, correction):
    """A model that is served verbatim learns choices in `emendo tune`, so also in the sweep."""
    from emendo.cli import main
    from emendo.config import open_workspace
    from emendo.records import UserError
    from sft.corrections import write_corrections

    losses = []

    def stop(*given):
        losses.append(given[4].loss)
        raise UserError("far enough")

    monkeypatch.setattr("sft.sweep.sweep", stop)
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path))
    write_corrections(tmp_path / "c.jsonl", [correction])
    assert main(["corrections", "import", str(tmp_path / "c.jsonl")]) == 0
    assert main(["sweep", "--model", "hf:some/model"]) == 2
    open_workspace(str(tmp_path)).settings.write_text("[answer]\nverbatim = true\n")
    assert main(["sweep", "--model", "hf:some/model"]) == 2
    assert losses == ["auto", "choices"]


def test_a_sweep_whose_trials_all_diverge_says_so(tiny_model, tmp_path, correction):
    wild = dataclasses.replace(TUNING, learning_rate=1e30, max_grad_norm=1e30)
    settings = SweepSettings(trials=1, ranks="4", epochs="2", mixes="0", span=2)
    with pytest.raises(UserError, match=r"the loss of all 1 trials became infinite.*lower --set tune.learning_rate=1e\+30"):
        sweep(str(tiny_model), distinct(correction), tmp_path, settings, wild, EXAMPLES, lambda *_: None)
