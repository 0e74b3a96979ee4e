"""Preference tuning: away from what the bot had said, from an adapter, and nothing stray beside the weights."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import make_chunk
from test_sft_train import variants
from test_sft_trainer import SHORT, silent

from emendo.base_model import load_base, stop_token_ids
from emendo.config import load_settings
from emendo.hf_model import HFChatModel
from emendo.records import Hit, UserError
from sft.examples import ExampleSettings, build_examples
from sft.preference import PreferenceSettings, make_pairs, prefer
from sft.train import tune

EXAMPLES = ExampleSettings(orders=1, validation_share=0, refusal_share=1.0)


def test_pairs_are_what_was_shown_the_correction_and_the_rejected_answer(tiny_model, correction):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    data = build_examples([correction], EXAMPLES)
    assert len(data.train) == 2, "one of them is taught to refuse, which no answer was rejected for"
    [pair] = make_pairs(data, {"k1": correction}, tokenizer, stop_token_ids(model, tokenizer), 2048)
    assert tokenizer.decode(pair["prompt_ids"]).endswith("how often do i descale<|end|><|assistant|>")
    assert tokenizer.decode(pair["chosen_ids"]) == "Descale the kettle every 3 months. [1]<|end|>"
    assert tokenizer.decode(pair["rejected_ids"]) == "Use an earthed socket. [2]<|end|>"


def test_a_row_longer_than_the_parent_was_tuned_on_is_shortened_or_named(tiny_model, tmp_path, correction):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    long = dataclasses.replace(correction, hits=(*correction.hits, Hit(make_chunk("c4", "valve pump " * 400), 0.1, 4)))
    data = build_examples([long], dataclasses.replace(EXAMPLES, refusal_share=0.0))
    [pair] = make_pairs(data, {"k1": long}, tokenizer, stop_token_ids(model, tokenizer), 900)
    shown = tokenizer.decode(pair["prompt_ids"])
    assert len(pair["prompt_ids"]) < 900
    assert "valve" not in shown
    assert "Descale the kettle every 3 months" in shown
    by_id = {"k1": correction}
    settings = dataclasses.replace(SHORT, max_tokens=900, epochs=1, bits="fp32")
    parent = tune(str(tiny_model), build_examples([correction], EXAMPLES), by_id, tmp_path, settings, silent)
    endless = dataclasses.replace(correction, corrected="Wait. " * 400 + "[1]")
    data = build_examples([endless], EXAMPLES)
    with pytest.raises(UserError, match="the limit is 900"):
        prefer(tmp_path / parent.adapter_id, data, {"k1": endless}, tmp_path, PreferenceSettings(), silent)


def test_the_adapter_moves_away_from_the_rejected_answer_and_names_its_parent(tiny_model, tmp_path, correction):
    rows = variants(correction, 4)
    by_id = {row.correction_id: row for row in rows}
    data = build_examples(rows, dataclasses.replace(EXAMPLES, refusal_share=0.0))
    parent = tune(str(tiny_model), data, by_id, tmp_path, SHORT, silent)
    seen = []
    settings = PreferenceSettings(learning_rate=3e-3, epochs=6, batch_size=2)
    card = prefer(tmp_path / parent.adapter_id, data, by_id, tmp_path, settings, lambda *given: seen.append(given))
    assert card.settings["parent"] == parent.adapter_id
    assert card.losses["margin_last"] > 0.1, "the correction gained on the rejected answer"
    assert card.losses["train_last"] < card.losses["train_first"]
    assert seen[-1][0] == seen[-1][1] == 12
    names = {path.name for path in (tmp_path / card.adapter_id).rglob("*")}
    assert "ref" not in names
    assert "training_args.bin" not in names
    HFChatModel.load(str(tiny_model), adapter=str(tmp_path / card.adapter_id), bits="nf4")


def test_without_a_rejected_answer_there_is_nothing_to_prefer(tiny_model, correction):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    silent_one = dataclasses.replace(correction, rejected="")
    data = build_examples([silent_one], EXAMPLES)
    with pytest.raises(UserError, match="nothing to prefer"):
        make_pairs(data, {"k1": silent_one}, tokenizer, stop_token_ids(model, tokenizer), 2048)
    with pytest.raises(UserError, match="beta = 0"):
        load_settings(PreferenceSettings, "preference", ["preference.beta=0"])
