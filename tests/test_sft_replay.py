"""Replay of the base's own answers, and the figure of forgetting."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from test_sft_train import variants
from test_sft_trainer import SHORT, losses, silent

from emendo.base_model import load_base, stop_token_ids
from emendo.records import UserError
from sft.examples import ExampleSettings, build_examples
from sft.replay import general_loss, replay_rows, text_rows
from sft.train import tune


@pytest.fixture(scope="module")
def stopping(tiny_model):
    """The tiny model made to answer "k" and stop, whatever it is asked: (model, tokenizer, stop ids)."""
    model, tokenizer = load_base(str(tiny_model), "fp32")
    letter = tokenizer.convert_tokens_to_ids("k")
    answer = {tokenizer.convert_tokens_to_ids("<|assistant|>"): letter, letter: tokenizer.eos_token_id}
    whole = model.forward

    def forward(input_ids=None, **options):
        out = whole(input_ids=input_ids, **options)
        for row, token in enumerate(input_ids[:, -1].tolist()):
            out.logits[row, -1, answer.get(token, tokenizer.eos_token_id)] = 1e4
        return out

    model.forward = forward
    yield model, tokenizer, stop_token_ids(model, tokenizer)
    model.forward = whole


def test_rows_are_the_models_own_answers_with_their_end(stopping, tmp_path):
    model, tokenizer, stops = stopping
    (tmp_path / "prompts.txt").write_text("What is a river?\n\nName a bird.\nCount to three.\n")
    rows = replay_rows(model, tokenizer, stops, 2, tmp_path / "run" / "replay.json", tmp_path / "prompts.txt")
    assert len(rows) == 2
    for row, question in zip(rows, ("What is a river?", "Name a bird."), strict=True):
        start = len(row.input_ids) - row.labelled
        assert question in tokenizer.decode(row.input_ids[:start])
        assert tokenizer.decode(row.input_ids[start:]) == "k<|end|>"


def test_a_resumed_run_rehearses_the_same_rows(stopping, tmp_path):
    model, tokenizer, stops = stopping
    file = tmp_path / "replay.json"
    first = replay_rows(model, tokenizer, stops, 3, file)
    assert replay_rows(None, None, set(), 3, file) == first, "nothing is asked again"
    assert json.loads(file.read_text())


def test_an_answer_that_never_ends_is_not_rehearsed(tiny_model, tmp_path):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    rows = replay_rows(model, tokenizer, stop_token_ids(model, tokenizer), 2, tmp_path / "replay.json")
    assert all(row.labelled < 96 for row in rows)


def test_text_of_the_model_is_the_same_for_a_seed_and_sampling_it_leaves_the_random_state(tiny_model, tmp_path):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    before = torch.get_rng_state()
    first = text_rows(model, tokenizer, 3, tmp_path / "one.json", 7)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == text_rows(model, tokenizer, 3, tmp_path / "two.json", 7)
    assert first != text_rows(model, tokenizer, 3, tmp_path / "three.json", 8)
    assert first == text_rows(None, None, 3, tmp_path / "one.json", 7), "a resumed run rehearses the same rows"
    assert len({tuple(row.input_ids) for row in first}) == 3
    for row in first:
        assert row.completion_mask == [0] + [1] * (len(row.input_ids) - 1)
        assert tokenizer.eos_token_id not in row.input_ids[1:-1]


def test_the_share_of_text_is_trained_on(tiny_model, tmp_path, correction):
    rows = variants(correction, 4)
    by_id = {row.correction_id: row for row in rows}
    data = build_examples(rows, ExampleSettings(orders=1, validation_share=0, refusal_share=0))
    settings = dataclasses.replace(SHORT, epochs=1, replay_text=0.5)
    card = tune(str(tiny_model), data, by_id, tmp_path, settings, silent)
    assert len(losses(tmp_path / card.adapter_id)) == 4, "four rows of text beside the four examples, two a step"
    with pytest.raises(UserError, match="leave no room for examples"):
        tune(str(tiny_model), data, by_id, tmp_path, dataclasses.replace(settings, replay=0.5), silent)


def test_general_loss_is_the_mean_over_tokens_and_tells_base_from_adapter(tiny_model, tmp_path):
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load_base(str(tiny_model), "fp32")
    text = tmp_path / "general.txt"
    text.write_text("A short one.\n\nAnother paragraph, a longer one than the first.\n")
    total, tokens = 0.0, 0
    for part in text.read_text().strip().split("\n\n"):
        ids = tokenizer(part, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            chances = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        total -= chances.gather(-1, ids[0, 1:, None]).sum().item()
        tokens += ids.shape[1] - 1
    assert general_loss(model, tokenizer, text) == pytest.approx(total / tokens, rel=1e-4)
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    assert general_loss(adapted, tokenizer, text, adapted=False) == pytest.approx(total / tokens, rel=1e-4)
    assert abs(general_loss(adapted, tokenizer, text) - total / tokens) > 0.01


def test_bad_files_are_named_and_the_sample_text_is_long_enough(tiny_model, tmp_path):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    with pytest.raises(UserError, match=r"none.txt cannot be read"):
        general_loss(model, tokenizer, tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        general_loss(model, tokenizer, tmp_path / "empty.txt")
    assert math.isfinite(general_loss(model, tokenizer))
