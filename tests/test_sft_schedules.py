"""Learning-rate schedules and the arguments that [tune] settings become."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from test_sft_trainer import make_trainer

from emendo.config import load_settings
from emendo.records import UserError
from sft.arguments import chosen_layers, lora_config, sft_config, target_modules
from sft.schedules import make_scheduler, share_at
from sft.threads import free_cores, usable_cores
from sft.train import TuneSettings


def rates(schedule: str, steps: int = 12, warmup: int = 2, floor: float = 0.1, drops: int = 3) -> list[float]:
    """Learning rates of all steps, the highest being 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer, schedule, warmup, steps, floor, drops)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("schedule", ["cosine", "linear", "step", "exponential"])
def test_a_schedule_warms_up_then_falls_to_its_floor(schedule):
    found = rates(schedule)
    assert found[:3] == [0.0, 0.5, 1.0]
    assert found[2:] == sorted(found[2:], reverse=True)
    assert found[-1] == pytest.approx(0.1)


def test_the_cosine_schedule_is_the_one_of_transformers():
    from transformers.optimization import get_cosine_with_min_lr_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_cosine_with_min_lr_schedule_with_warmup(optimizer, 2, 12, min_lr_rate=0.1)
    for expected in rates("cosine"):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        optimizer.step()
        theirs.step()


def test_step_falls_in_equal_parts_by_equal_factors_and_constant_does_not_fall():
    assert [share_at("step", p, 0.001, 3) for p in (0, 0.24, 0.26, 0.51, 0.76, 1)] == pytest.approx(
        [1, 1, 0.1, 0.01, 0.001, 0.001]
    )
    assert rates("constant")[2:] == [1.0] * 11


def test_plateau_halves_the_rate_when_two_validations_bring_nothing():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer, "plateau", 2, 12, 0.1, 3)
    found = []
    for loss in (1.0, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9):
        scheduler.step(loss)
        found.append(optimizer.param_groups[0]["lr"])
    assert found[:4] == [1.0, 1.0, 1.0, 0.5]
    assert found[-1] == pytest.approx(0.1), "never below the floor"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tune.scedule=cosine", "did you mean tune.schedule"),
        ("tune.learningrate=1e-4", "did you mean tune.learning_rate"),
        ("tune.schedule=cyclic", "expected one of cosine, linear, step, exponential, plateau, constant"),
        ("tune.dropout=1.5", "expected a share"),
        ("tune.rank=0", "expected more than 0"),
        ("tune.learning_rate=-1", "expected more than 0"),
        ("tune.patience=-1", "expected 0 or more"),
        ("tune.bits=int3", "expected one of auto, nf4, bf16, fp32"),
    ],
)
def test_a_wrong_setting_is_named_with_its_cure(override, message):
    with pytest.raises(UserError, match=message):
        load_settings(TuneSettings, "tune", [override])


def test_a_falling_schedule_cannot_end_at_nothing():
    with pytest.raises(UserError, match="cannot reach 0"):
        load_settings(TuneSettings, "tune", ["tune.schedule=exponential", "tune.floor=0"])


@pytest.fixture(scope="module")
def small_model(tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model)


def test_adapters_sit_on_the_chosen_layers_only(small_model):
    from peft import get_peft_model

    settings = TuneSettings(target="mlp", layers="1", weight_decay=0.1)
    adapted = get_peft_model(small_model, lora_config(settings, small_model))
    names = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    adapted.unload()
    assert names
    assert all(".layers.1.mlp." in name for name in names)


def test_layers_and_targets_are_read_as_documented_or_named(small_model):
    assert chosen_layers("", 8) is None
    assert chosen_layers("0-2,7", 8) == [0, 1, 2, 7]
    assert chosen_layers("6-", 8) == [6, 7]
    assert target_modules("attention", small_model) == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert "lm_head" not in target_modules("all-linear", small_model)
    for layers, message in (("5-9", "blocks 0-7"), ("x", "like 0-3,7"), ("3-1", "blocks 0-7")):
        with pytest.raises(UserError, match=message):
            chosen_layers(layers, 8)
    with pytest.raises(UserError, match="did you mean q_proj"):
        target_modules("q_pro", small_model)


def test_the_settings_reach_the_trainer(tmp_path):
    settings = TuneSettings(
        batch_size=2, accumulate=3, weight_decay=0.1, neftune=5.0, learning_rate=0.5, max_grad_norm=2.0, patience=2
    )
    given = sft_config(settings, tmp_path, rows=60, validated=True, parameters=10)
    assert (given.per_device_train_batch_size, given.gradient_accumulation_steps) == (2, 3)
    assert (given.weight_decay, given.learning_rate, given.max_grad_norm) == (0.1, 0.5, 2.0)
    assert given.neftune_noise_alpha == 5.0
    assert given.load_best_model_at_end
    assert given.eval_steps == given.save_steps == 2, "ten updates, four validations, each with its checkpoint"


def test_what_needs_validation_rows_says_so(tmp_path):
    for settings in (TuneSettings(patience=3), TuneSettings(keep_best=True), TuneSettings(schedule="plateau")):
        with pytest.raises(UserError, match="validation_share"):
            sft_config(settings, tmp_path, rows=60, validated=False, parameters=10)


@pytest.mark.parametrize("tracker", ["mlflow", "trackio", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_named_before_the_run(tracker, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"tune.log_to={tracker} needs .*`pip install {tracker}`"):
        sft_config(TuneSettings(log_to=tracker), tmp_path, rows=4, validated=False, parameters=10)


def test_each_run_has_its_losses_in_tensorboards_files(tiny_model, tmp_path):
    """Two runs of one process: each has its own folder."""
    pytest.importorskip("tensorboardX")
    for name in ("one", "two"):
        trainer = make_trainer(tiny_model, tmp_path / f".running-{name}", log_to="tensorboard")
        trainer.train()
        losses = {row["step"]: row["loss"] for row in trainer.state.log_history if "loss" in row}
        assert scalars(tmp_path / "tensorboard" / name)["train/loss"] == pytest.approx(losses)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """{tag: {step: value}} of the one event file; a record is its length, a checksum, an Event, a checksum."""
    from tensorboardX.proto.event_pb2 import Event

    [file] = folder.iterdir()
    content, place, found = file.read_bytes(), 0, {}
    while place < len(content):
        length = int.from_bytes(content[place : place + 8], "little")
        event = Event.FromString(content[place + 12 : place + 12 + length])
        place += length + 16
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_threads_match_the_cores_that_are_free(tmp_path):
    assert free_cores(8, busy=0.2) == 8
    assert free_cores(8, busy=5.6) == 2
    assert free_cores(2, busy=2.0) == 1, "one, however busy the machine is"
    quota = tmp_path / "cpu.max"
    quota.write_text("150000 100000\n")
    assert usable_cores(quota) <= 1.5
    assert usable_cores(Path("/nowhere")) >= 1


def test_settings_of_one_run_can_be_written_and_read_back():
    settings = TuneSettings(schedule="step", layers="4-", patience=3)
    assert load_settings(
        TuneSettings, "tune", [f"tune.{k}={v}" for k, v in dataclasses.asdict(settings).items() if v is not None]
    )
