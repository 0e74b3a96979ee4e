"""The trainer: its loss is TRL's, it stops and resumes without a loss, and it keeps the best weights."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from test_sft_train import QUICK, variants

from emendo.base_model import load_base
from emendo.records import UserError
from sft.checkpoints import last_whole
from sft.encoding import Encoded
from sft.examples import ExampleSettings, build_examples
from sft.train import TuneSettings, build_trainer, forgetting, tune

ROWS = [Encoded(list(range(5, 5 + n)), [0] * (n - k) + [1] * k) for n, k in ((30, 4), (41, 9), (24, 2), (41, 1))]


def silent(step: int, steps: int, figures: dict[str, float]) -> None:
    """No progress shown."""


def make_trainer(tiny_model, run, bits="fp32", validation=(), **settings):
    model, tokenizer = load_base(str(tiny_model), bits, training=True)
    given = TuneSettings(**{"bits": bits, "dropout": 0.0, "batch_size": 4, "epochs": 1, **settings})
    return build_trainer(model, tokenizer, ROWS, list(validation), run, given, silent)


def batch(trainer):
    rows = [
        {"input_ids": r.input_ids, "labels": [t if m else -100 for t, m in zip(r.input_ids, r.completion_mask, strict=True)]}
        for r in ROWS
    ]
    return trainer._prepare_inputs(trainer.data_collator(rows))


@pytest.mark.parametrize("count", [None, 40])
def test_loss_and_gradients_of_labelled_positions_are_those_of_trl(tiny_model, tmp_path, count):
    """Padded rows of different lengths, with and without the token count of an accumulated batch."""
    from trl import SFTTrainer

    trainer = make_trainer(tiny_model, tmp_path)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    trainer.model.train()
    found = []
    for compute in (trainer.compute_loss, lambda *given, **more: SFTTrainer.compute_loss(trainer, *given, **more)):
        trainer.model.zero_grad()
        loss = compute(trainer.model, batch(trainer), num_items_in_batch=count)
        loss.backward()
        gradients = [p.grad.clone() for p in trainer.model.parameters() if p.requires_grad]
        found.append((loss.item(), gradients))
    (own, own_gradients), (theirs, their_gradients) = found
    assert own == pytest.approx(theirs, rel=1e-5)
    largest = max(g.abs().max() for g in their_gradients)
    for one, other in zip(own_gradients, their_gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-5 * largest)
    assert own == pytest.approx(4.0, abs=4.0)


def test_a_batch_without_labels_is_a_zero_that_can_be_differentiated(tiny_model, tmp_path):
    trainer = make_trainer(tiny_model, tmp_path)
    inputs = batch(trainer)
    inputs["labels"][:] = -100
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    assert loss.item() == 0


def examples(correction, **settings):
    rows = variants(correction, 4)
    given = {"orders": 2, "validation_share": 0, "refusal_share": 0, **settings}
    return build_examples(rows, ExampleSettings(**given)), {row.correction_id: row for row in rows}


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in json.loads((folder / "losses.json").read_text()) if "loss" in row]


SHORT = dataclasses.replace(QUICK, epochs=2, save_steps=4, dropout=0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_and_goes_on_where_it_was(tiny_model, tmp_path, correction, number):
    """Dropout is on: the random state is resumed too. The schedule is one that transformers has not."""
    data, by_id = examples(correction)
    handler = signal.getsignal(signal.SIGINT)
    settings = dataclasses.replace(SHORT, schedule="step")
    whole = tune(str(tiny_model), data, by_id, tmp_path / "whole", settings, silent)

    def stop_at_three(step: int, steps: int, figures: dict[str, float]) -> None:
        if step == 3 and "loss" in figures:
            os.kill(os.getpid(), number)

    with pytest.raises(UserError, match=r"stopped at step [34] of \d; its checkpoint is saved"):
        tune(str(tiny_model), data, by_id, tmp_path / "cut", settings, stop_at_three)
    resumed = tune(str(tiny_model), data, by_id, tmp_path / "cut", settings, silent)
    expected = losses(tmp_path / "whole" / whole.adapter_id)
    assert losses(tmp_path / "cut" / resumed.adapter_id) == pytest.approx(expected, abs=1e-6)
    assert signal.getsignal(signal.SIGINT) is handler, "the run gives the signals back"


def test_a_full_disk_stops_the_run_with_its_cure_and_the_last_checkpoint(tiny_model, tmp_path, correction):
    data, by_id = examples(correction)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    settings = dataclasses.replace(SHORT, save_steps=2)

    def fill_after_two(step: int, steps: int, figures: dict[str, float]) -> None:
        if step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # as on a full disk, each larger write fails

    try:
        with pytest.raises(UserError, match=r"checkpoint 4 could not be written.*make room"):
            tune(str(tiny_model), data, by_id, tmp_path, settings, fill_after_two)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    [run] = tmp_path.glob(".running-*")
    assert last_whole(run).name == "checkpoint-2"
    card = tune(str(tiny_model), data, by_id, tmp_path, settings, silent)
    assert len(losses(tmp_path / card.adapter_id)) > 4, "it went on to the end"


def test_a_disk_that_is_full_at_the_end_loses_no_step(tiny_model, tmp_path, correction):
    data, by_id = examples(correction)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    seen: list[int] = []

    def watch(step: int, steps: int, figures: dict[str, float]) -> None:
        seen.append(step)

    def fill(*given, **more):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        return forgetting(*given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sft.train.forgetting", fill)  # measured between the last checkpoint and the adapter
        try:
            with pytest.raises(UserError, match=r"could not be written.*make room.*goes on from the last whole checkpoint"):
                tune(str(tiny_model), data, by_id, tmp_path, SHORT, watch)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob(".partial-*"))
    steps = len(seen)
    card = tune(str(tiny_model), data, by_id, tmp_path, SHORT, watch)
    assert len(seen) == steps, "no step is made again"
    assert len(losses(tmp_path / card.adapter_id)) == steps


def test_patience_ends_the_run_and_the_best_weights_are_published_in_fp32(tiny_model, tmp_path):
    """A learning rate far too high: the first validation is the best one."""
    held_out = [ROWS[0], ROWS[1]]
    trainer = make_trainer(
        tiny_model, tmp_path, bits="nf4", validation=held_out, batch_size=1, epochs=5, validations=10,
        learning_rate=0.3, schedule="constant", warmup_share=0.0, patience=2,
    )  # fmt: skip
    trainer.train()
    checks = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    best = checks.index(min(checks))
    assert len(checks) == best + 3 < 10, "two validations after the best one the run is over"
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(checks), rel=1e-4)
    assert {p.dtype for p in trainer.model.parameters() if p.requires_grad} == {torch.float32}
