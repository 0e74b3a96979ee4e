"""The ways in which tuning goes wrong without a word: docs/tuning.md lists all twelve, and where each one's test is."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from test_sft_train import variants
from test_sft_trainer import SHORT, losses, make_trainer, silent

from emendo.base_model import load_base
from emendo.records import UserError, to_json
from sft.adapters import find_adapter
from sft.arguments import learning_rate_for
from sft.checkpoints import last_whole
from sft.encoding import Encoded
from sft.examples import ExampleSettings, build_examples
from sft.preference import PreferenceSettings
from sft.sweep import SweepSettings
from sft.thumbs import ThumbsSettings
from sft.train import TuneSettings, build_trainer, tune

ROOT = Path(__file__).resolve().parent.parent
LONG = Encoded([5 + i % 250 for i in range(1500)], [0] * 1490 + [1] * 10)
SHORTER = Encoded([9 + i % 200 for i in range(700)], [0] * 680 + [1] * 20)


@pytest.fixture(scope="module")
def trainer(tiny_model, tmp_path_factory):
    """On NF4 with the default settings, nothing trained yet."""
    model, tokenizer = load_base(str(tiny_model), "nf4", training=True)
    settings = TuneSettings(epochs=1, batch_size=2, dropout=0.0)
    return build_trainer(model, tokenizer, [LONG, SHORTER], [], tmp_path_factory.mktemp("run"), settings, silent)


def test_trap_2_rows_longer_than_trls_limit_arrive_whole_and_none_is_dropped(trainer):
    """TRL cuts at 1,024 tokens: this row's answer, its end of turn included, would be gone."""
    given = {tuple(row["input_ids"]): row["labels"] for row in trainer.train_dataset}
    assert sorted(map(len, given)) == [700, 1500]
    assert [label for label in given[tuple(LONG.input_ids)] if label != -100] == LONG.input_ids[-10:]


def test_trap_3_adapters_are_fp32_so_that_small_steps_move_them(trainer):
    adapters = [p for p in trainer.model.parameters() if p.requires_grad]
    assert {p.dtype for p in adapters} == {torch.float32}


def test_trap_4_killed_in_the_middle_of_a_checkpoint(tiny_model, tmp_path, correction):
    """kill -9 while the second checkpoint is written: it goes on from the first one, to the losses of an uninterrupted run."""
    rows = variants(correction, 4)
    by_id = {row.correction_id: row for row in rows}
    data = build_examples(rows, ExampleSettings(orders=2, validation_share=0, refusal_share=0))
    settings = dataclasses.replace(SHORT, save_steps=3)
    (tmp_path / "rows.json").write_text("[" + ",".join(to_json(row) for row in rows) + "]")
    script = f"""
        import json, os, signal
        from pathlib import Path
        import sft.trainer
        from emendo.records import Correction, from_json
        from sft.examples import ExampleSettings, build_examples
        from sft.train import TuneSettings, tune

        seal, sealed = sft.trainer.seal, []

        def seal_one_and_die(folder):
            if sealed:
                os.kill(os.getpid(), signal.SIGKILL)
            sealed.append(seal(folder))

        sft.trainer.seal = seal_one_and_die
        rows = [from_json(Correction, row) for row in json.loads(Path({str(tmp_path / "rows.json")!r}).read_text())]
        data = build_examples(rows, ExampleSettings(orders=2, validation_share=0, refusal_share=0))
        by_id = {{row.correction_id: row for row in rows}}
        settings = TuneSettings(**{dataclasses.asdict(settings)!r})
        tune({str(tiny_model)!r}, data, by_id, Path({str(tmp_path / "cut")!r}), settings, lambda *_: None)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr[-2000:]
    [run] = (tmp_path / "cut").glob(".running-*")
    assert sorted(folder.name for folder in run.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-6"]
    assert last_whole(run).name == "checkpoint-3"
    assert not list(run.rglob("training_args.bin")), "trap 8: a pickle"
    resumed = tune(str(tiny_model), data, by_id, tmp_path / "cut", settings, silent)
    whole = tune(str(tiny_model), data, by_id, tmp_path / "whole", settings, silent)
    assert losses(tmp_path / "cut" / resumed.adapter_id) == pytest.approx(losses(tmp_path / "whole" / whole.adapter_id), abs=1e-6)
    check_folder(find_adapter(tmp_path / "whole"))


def check_folder(folder: Path) -> None:
    """Trap 8: transformers leaves a pickle of its arguments beside the weights; it is not shipped."""
    names = {path.name for path in folder.rglob("*")}
    assert {"adapter_model.safetensors", "adapter_config.json", "card.json"} <= names
    assert not [name for name in names if Path(name).suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_trap_6_quantised_as_qlora_and_not_as_the_library_defaults(trainer):
    import bitsandbytes

    layers = [module for module in trainer.model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert len(layers) == 2 * 7, "every linear layer of both blocks, the head not"
    for layer in layers:
        assert layer.weight.quant_state.quant_type == "nf4", "the default is fp4"
        assert layer.weight.quant_state.nested, "double quantisation"
        assert layer.compute_dtype == torch.bfloat16, "the default is fp32"
    frozen = {p.dtype for p in trainer.model.parameters() if not p.requires_grad and p.is_floating_point()}
    assert frozen == {torch.bfloat16}, "the rest of the base"


def test_trap_6_adapters_on_all_linear_layers_and_a_rate_for_adapters(trainer):
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}, "not q and v alone"
    assert min(learning_rate_for(size) for size in (10**7, 10**9, 8 * 10**9)) >= 1e-4, "2e-5 is for full tuning"


def test_trap_7_the_loss_is_on_the_answer_and_its_end_of_turn_only(trainer):
    for row in trainer.train_dataset:
        labelled = [place for place, label in enumerate(row["labels"]) if label != -100]
        source = LONG if len(row["input_ids"]) == 1500 else SHORTER
        assert labelled == [place for place, kept in enumerate(source.completion_mask) if kept]


def test_trap_9_rows_of_a_batch_do_not_see_each_other(trainer):
    """Wrapped packing lets one row attend to the one before it: then a row's loss would depend on its neighbour."""

    def loss(*rows: Encoded) -> float:
        labels = [[t if m else -100 for t, m in zip(row.input_ids, row.completion_mask, strict=True)] for row in rows]
        given = [{"input_ids": row.input_ids, "labels": kept} for row, kept in zip(rows, labels, strict=True)]
        inputs = trainer._prepare_inputs(trainer.data_collator(given))
        with torch.no_grad():
            return trainer.compute_loss(trainer.model, inputs).item()

    apart = (loss(LONG) * LONG.labelled + loss(SHORTER) * SHORTER.labelled) / (LONG.labelled + SHORTER.labelled)
    assert loss(LONG, SHORTER) == pytest.approx(apart, rel=5e-3)
    assert not trainer.args.packing


def test_trap_10_a_schedule_that_transformers_does_not_know_is_followed(tiny_model, tmp_path):
    settings = {"schedule": "step", "floor": 0.001, "warmup_share": 0.0, "learning_rate": 0.1, "batch_size": 1, "epochs": 2}
    trainer = make_trainer(tiny_model, tmp_path, **settings)
    trainer.train()
    rates = [row["learning_rate"] for row in trainer.state.log_history if "learning_rate" in row]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])


def test_trap_11_a_run_does_not_begin_without_the_sharding_that_was_asked_for(tiny_model, tmp_path, monkeypatch):
    """On a CPU accelerate reads an FSDP configuration and goes on without it."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="FSDP was asked for, but accelerate runs with NO"):
        make_trainer(tiny_model, tmp_path)


def test_trap_12_a_run_takes_no_more_threads_than_cores_are_free(tiny_model, tmp_path, correction, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: 100.0)  # all cores are busy with something else
    before, data = torch.get_num_threads(), build_examples([correction], ExampleSettings(validation_share=0))
    torch.set_num_threads(2)
    try:
        with pytest.raises(UserError, match="the limit is 64"):  # it ends before its first step
            tune(str(tiny_model), data, {"k1": correction}, tmp_path, dataclasses.replace(SHORT, max_tokens=64), silent)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_page_on_tuning_names_every_setting_and_only_tests_that_exist():
    page = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) >= 12
    assert not [name for name in named if f"def {name}(" not in tests]
    for settings in (TuneSettings, SweepSettings, PreferenceSettings, ThumbsSettings):
        assert not [field.name for field in dataclasses.fields(settings) if f"`{field.name}`" not in page]


def test_a_loss_that_is_no_number_stops_the_run():
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from sft.trainer import Diverged, ProgressCallback

    callback = ProgressCallback(silent)
    for bad in ({"loss": float("nan")}, {"eval_loss": float("inf")}):
        with pytest.raises(Diverged, match="lower it with"):
            callback.on_log(TrainingArguments(use_cpu=True), TrainerState(global_step=3), TrainerControl(), logs=bad)
