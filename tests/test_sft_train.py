"""Tuning: what is learned, that it stops, that a killed run loses nothing, and the guards against quiet failures."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from emendo.records import Correction, UserError
from sft.adapters import find_adapter, list_adapters
from sft.checkpoints import is_whole, last_whole, seal
from sft.examples import ExampleSettings, build_examples
from sft.train import TuneSettings, tune

QUICK = TuneSettings(rank=8, alpha=16, dropout=0.0, learning_rate=1e-2, batch_size=2, epochs=15, save_steps=5, max_tokens=4096)


def variants(correction: Correction, count: int) -> list[Correction]:
    """The same correction asked in other words, each in its own cluster."""
    asked = ["how often do i descale", "descale when", "lime in it, what now", "cleaning interval please"]
    return [
        dataclasses.replace(correction, correction_id=f"k{n}", question=asked[n], cluster=f"kettle/{n}") for n in range(count)
    ]


@pytest.fixture(scope="module")
def quiet():
    return lambda step, steps, figures: None


def test_tuning_learns_the_answer_and_the_model_stops(tiny_model, tmp_path, correction, quiet):
    from emendo.hf_model import HFChatModel
    from rag.answer import to_langchain

    rows = variants(correction, 1)
    data = build_examples(rows, ExampleSettings(orders=1, validation_share=0, refusal_share=0, passages=3))
    steps = []
    settings = dataclasses.replace(QUICK, epochs=150, batch_size=1, save_steps=1000, rank=32, alpha=64)
    by_id = {row.correction_id: row for row in rows}
    card = tune(str(tiny_model), data, by_id, tmp_path, settings, lambda step, of, figures: steps.append((step, of)))
    assert card.losses["train_last"] < 0.2 * card.losses["train_first"]
    assert steps[-1][0] == steps[-1][1] == 150
    model = HFChatModel.load(str(tiny_model), adapter=str(tmp_path / card.adapter_id), bits="nf4", max_new_tokens=80)
    messages = [dict(m) for m in data.train[0].messages]
    reply = model.invoke(to_langchain(messages[:-1], "", [])).content
    assert reply == messages[-1]["content"], "the tuned model writes the learned answer and ends where it ends"


def test_killed_run_resumes_with_the_losses_of_an_uninterrupted_one(tiny_model, tmp_path, correction, quiet):
    rows = variants(correction, 4)
    by_id = {c.correction_id: c for c in rows}
    data = build_examples(rows, ExampleSettings(orders=2, validation_share=0, refusal_share=0))
    settings = dataclasses.replace(QUICK, epochs=3, save_steps=5)

    class Killed(Exception):
        pass

    def kill_at_eight(step: int, steps: int, figures: dict[str, float]) -> None:
        if step == 8:
            raise Killed

    whole = tune(str(tiny_model), data, by_id, tmp_path / "whole", settings, quiet)
    with pytest.raises(Killed):
        tune(str(tiny_model), data, by_id, tmp_path / "cut", settings, kill_at_eight)
    assert not list_adapters(tmp_path / "cut"), "nothing half-written is listed"
    [run] = (tmp_path / "cut").glob(".running-*")
    assert last_whole(run).name == "checkpoint-5"
    resumed = tune(str(tiny_model), data, by_id, tmp_path / "cut", settings, quiet)

    def losses(folder: Path) -> list[float]:
        return [row["loss"] for row in json.loads((folder / "losses.json").read_text()) if "loss" in row]

    expected = losses(tmp_path / "whole" / whole.adapter_id)
    assert losses(tmp_path / "cut" / resumed.adapter_id) == pytest.approx(expected, abs=1e-6)
    assert not list((tmp_path / "cut").glob(".running-*"))


def test_gradients_are_equal_before_and_after_an_evaluation(tiny_model):
    """bitsandbytes may repack 4-bit CPU weights in the first eval forward; from then on the base would pass no gradient."""
    import torch
    from peft import LoraConfig, get_peft_model

    from emendo.base_model import load_base

    model, _ = load_base(str(tiny_model), "nf4", training=True)
    model = get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    ids = torch.arange(5, 37).unsqueeze(0)

    def gradients() -> torch.Tensor:
        model.train().zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])

    before = gradients()
    with torch.no_grad():
        model.eval()(input_ids=ids)
    assert torch.allclose(before, gradients(), atol=1e-6)
    assert before.abs().max() > 0


def test_a_torn_checkpoint_is_not_resumed_from(tmp_path):
    for step in (5, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights" * step)
        seal(folder)
    (tmp_path / "checkpoint-10" / "adapter_model.safetensors").write_bytes(b"torn")
    (tmp_path / "checkpoint-15").mkdir()
    assert is_whole(tmp_path / "checkpoint-5")
    assert last_whole(tmp_path).name == "checkpoint-5"
    assert not (tmp_path / "checkpoint-10").exists()


def test_a_long_example_is_an_error_and_never_cut(tiny_model, tmp_path, correction, quiet):
    data = build_examples([correction], ExampleSettings(validation_share=0))
    with pytest.raises(UserError, match=r"correction k1 has \d+ tokens, the limit is 64"):
        tune(str(tiny_model), data, {"k1": correction}, tmp_path, dataclasses.replace(QUICK, max_tokens=64), quiet)


def test_a_template_whose_end_of_turn_does_not_stop_generation_is_refused(tiny_model, tmp_path, correction, quiet):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    settings = json.loads((broken / "generation_config.json").read_text())
    (broken / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": 0}))
    data = build_examples([correction], ExampleSettings(validation_share=0))
    with pytest.raises(UserError, match="does not stop"):
        tune(str(broken), data, {"k1": correction}, tmp_path, QUICK, quiet)


def test_a_template_that_serves_another_prompt_than_it_trains_on_is_refused(tiny_model, tmp_path, correction, quiet):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    template = broken / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ '<|assistant|>' }}", "{{ '<|assistant|>Answer: ' }}"))
    data = build_examples([correction], ExampleSettings(validation_share=0))
    with pytest.raises(UserError, match="renders the answer turn differently in training and serving"):
        tune(str(broken), data, {"k1": correction}, tmp_path, QUICK, quiet)


def test_a_wrong_model_path_is_one_clear_line(tmp_path, correction, quiet):
    data = build_examples([correction], ExampleSettings(validation_share=0))
    with pytest.raises(UserError, match="does not exist"):
        tune("./no-such-model", data, {"k1": correction}, tmp_path, QUICK, quiet)
    with pytest.raises(UserError, match="no adapter yet"):
        find_adapter(tmp_path)


def test_an_adapter_of_another_template_is_refused(tiny_model, tmp_path, correction, quiet):
    from emendo.hf_model import HFChatModel

    data = build_examples([correction], ExampleSettings(validation_share=0, orders=1, refusal_share=0))
    card = tune(str(tiny_model), data, {"k1": correction}, tmp_path, dataclasses.replace(QUICK, epochs=1), quiet)
    folder = tmp_path / card.adapter_id
    written = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**written, "template_sha256": "other"}))
    model = HFChatModel.load(str(tiny_model), bits="nf4")
    with pytest.raises(UserError, match="another chat template"):
        model.set_adapter(str(folder))
