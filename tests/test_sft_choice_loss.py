"""Tuning as the model is served: the loss on the choices among the units of the passages."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import pytest
import torch
from test_sft_train import QUICK, variants

from emendo.base_model import load_base, stop_token_ids
from emendo.chat_models import BUNDLED
from emendo.hf_model import HFChatModel
from emendo.records import UserError
from emendo.verbatim import VerbatimPlan, stop_probability, tree_logprobs
from rag.answer import to_langchain
from rag.prompt import REFUSAL
from sft.check import check_rows
from sft.choice_loss import NONE, choice_loss, choices_of
from sft.encoding import Encoded
from sft.examples import ExampleSettings, build_examples
from sft.preflight import preflight
from sft.train import TuneSettings, build_trainer, tune, with_loss
from sft.unit_answers import as_units

PASSAGES = (
    "The base draws 2,200 watts. The lid is steel. Use an earthed socket.",
    "The base may get warm. Descale it every 3 months.\nCode | Meaning\nE1 | no water\nE2 | too hot",
)
SETTINGS = dataclasses.replace(QUICK, loss="choices")
ONE_SIDE = ExampleSettings(orders=1, validation_share=0, refusal_share=0)


def silent(step, steps, figures):
    """No progress shown."""


@pytest.fixture(scope="module")
def bundled():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BUNDLED)


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return load_base(str(tiny_model), "fp32", training=True)


def losses_of(found, logits):
    """The loss of each labelled token of an answer, given the logits for all of its tokens."""
    ids, allowed = found
    most = max(map(len, allowed))
    padded = torch.tensor([[*row, *[NONE] * (most - len(row))] for row in allowed])
    losses = choice_loss(logits, torch.tensor(ids), padded)
    return [loss.item() if row else 0.0 for loss, row in zip(losses, allowed, strict=True)]


@pytest.mark.parametrize("unit", ["The base draws 2,200 watts. [1]", "The base may get warm. [2]", "E2 | too hot [2]"])
def test_the_loss_of_a_unit_is_its_log_probability_in_decoding(bundled, unit):
    """emendo.verbatim, which decodes, is the reference: the same logits, the same tree of units."""
    found = choices_of(bundled, PASSAGES, unit, bundled.eos_token_id)
    ids = found[0]
    torch.manual_seed(1)
    logits = torch.randn(len(ids), len(bundled))
    after = {tuple(ids[:n]): logits[n].log_softmax(-1) for n in range(len(ids))}
    elsewhere = torch.zeros(len(bundled))  # of beginnings that the answer does not take
    options = VerbatimPlan(bundled, PASSAGES, REFUSAL).options()
    decoded = tree_logprobs(options, lambda prefix: after.get(prefix, elsewhere))
    own = options.index(tuple(ids[:-1]))
    losses = losses_of(found, logits)
    assert sum(losses[:-1]) == pytest.approx(-decoded[own], abs=1e-4)
    assert sum(losses[:-1]) > 0.1

    following = plan_after(bundled, unit).options()
    stop = stop_probability(following, [bundled.eos_token_id], logits[-1].log_softmax(-1))
    assert losses[-1] == pytest.approx(-torch.tensor(stop).log().item(), abs=1e-4), "going on or not is a choice, too"


def plan_after(tokenizer, unit):
    """The plan of decoding once `unit` is printed."""
    plan = VerbatimPlan(tokenizer, PASSAGES, REFUSAL)
    options = plan.options()
    own = options.index(tuple(tokenizer(unit, add_special_tokens=False)["input_ids"]))
    wanted = torch.full((len(tokenizer),), -1e4)
    plan.choose(options, lambda prefix: wanted.index_fill(0, torch.tensor(options[own][len(prefix)]), 0.0))
    return plan


def test_only_choices_are_labelled_and_a_second_unit_is_one(bundled):
    text = "The lid is steel. [1] Descale it every 3 months. [2]"
    ids, allowed = choices_of(bundled, PASSAGES, text, bundled.eos_token_id)
    assert bundled.decode(ids[:-1]) == text
    named = {n: {bundled.decode([token]) for token in row} for n, row in enumerate(allowed) if row}
    assert all(row[0] == ids[n] for n, row in enumerate(allowed) if row)
    assert {"The", "Use", "E"} <= named[0]
    second = next(n for n, names in named.items() if "<|end|>" in names)
    assert bundled.decode(ids[second]) == " D" or bundled.decode(ids[second:]).startswith(" Descale")
    assert " The" in named[second], "the other units that begin so are still open"
    assert "<|end|>" in named[len(ids) - 1]
    assert len(named) < len(ids) / 2, "most of the text is given"


@pytest.mark.parametrize(
    "answer",
    ["", REFUSAL, "The lid is steel.", "The lid is steel. [2]", "Steel. [1]", "The lid is steel. [1] The lid is steel. [1]"],
)
def test_what_decoding_cannot_print_has_no_choices(bundled, answer):
    assert choices_of(bundled, PASSAGES, answer, bundled.eos_token_id) is None


@pytest.mark.parametrize(
    ("answer", "units"),
    [
        ("Base: 1800 watts [1]", "Base: 1800 watts [1]"),  # another number is another statement
        ("Lid is steel [1]", "The lid is steel. [1]"),
        ("E2 too hot [2]", "E2 | too hot [2]"),
        ("The lid is steel. Use an earthed socket. [1]", "The lid is steel. [1] Use an earthed socket. [1]"),
        ("Buy a new one. The base may get warm. [2]", "The base may get warm. [2]"),
        ("Buy a new one. [2]", "Buy a new one. [2]"),
        (REFUSAL, REFUSAL),
    ],
)
def test_an_answer_becomes_the_units_that_hold_it(answer, units):
    assert as_units(answer, PASSAGES) == units


def test_a_row_counts_as_one_whatever_its_length(tiny, tmp_path):
    """Choices of a row are summed, the tokens of a plain one averaged; training and validation have the mean over rows."""
    model, tokenizer = tiny
    chosen = Encoded(list(range(5, 25)), [0] * 17 + [1, 0, 1], allowed=[[22, 30, 31], [24, 7]])
    plain = Encoded(list(range(40, 70)), [0] * 20 + [1] * 10)
    settings = dataclasses.replace(SETTINGS, bits="fp32", batch_size=2, epochs=1)
    trainer = build_trainer(model, tokenizer, [chosen, plain], [plain, chosen], tmp_path, settings, silent)
    seen = []
    for row in (chosen, plain):
        with torch.no_grad():
            logits = trainer.model(input_ids=torch.tensor([row.input_ids])).logits[0].float()
        open_at = [n for n, labelled in enumerate(row.completion_mask) if labelled]
        places = row.allowed or [list(range(logits.shape[1]))] * len(open_at)
        each = [
            (logits[n - 1][ids].logsumexp(-1) - logits[n - 1][row.input_ids[n]]).item()
            for n, ids in zip(open_at, places, strict=True)
        ]
        seen.append(sum(each) if row.allowed else sum(each) / len(each))
    expected = sum(seen) / 2
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=2e-2)  # bf16 in the trainer
    trainer.train()
    [loss] = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert loss == pytest.approx(expected, rel=2e-2)


def test_a_tuned_model_chooses_the_corrected_unit_as_served(tiny_model, tmp_path, correction):
    """The correction leaves a word out; what is learned, and then printed, is the unit."""
    rows = [dataclasses.replace(c, corrected="Use citric acid [1]") for c in variants(correction, 2)]
    data = build_examples(rows, ONE_SIDE)
    settings = dataclasses.replace(SETTINGS, epochs=25, batch_size=2)
    card = tune(str(tiny_model), data, {row.correction_id: row for row in rows}, tmp_path, settings, silent)
    assert card.settings["loss"] == "choices"
    assert card.losses["train_last"] < 0.2 * card.losses["train_first"]
    prompt = to_langchain(list(data.train[0].messages[:-1]), rows[0].question, rows[0].hits)
    answers = []
    for adapter in (None, str(tmp_path / card.adapter_id)):
        model = HFChatModel.load(str(tiny_model), adapter, "nf4", verbatim=True, refusal=REFUSAL, refuse_above=1.0)
        answers.append(str(model.invoke(prompt).content))
    assert answers[1] == "Use citric acid only. [1]" != answers[0]


def test_a_stopped_run_goes_on_with_equal_losses(tiny_model, tmp_path, correction):
    rows = variants(correction, 4)
    by_id = {row.correction_id: row for row in rows}
    data = build_examples(rows, dataclasses.replace(ONE_SIDE, refusal_share=0.9))
    settings = dataclasses.replace(SETTINGS, epochs=2, save_steps=4, dropout=0.1)
    whole = tune(str(tiny_model), data, by_id, tmp_path / "whole", settings, silent)

    def stop_at_two(step, steps, figures):
        if step == 2 and "loss" in figures:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(UserError, match="its checkpoint is saved"):
        tune(str(tiny_model), data, by_id, tmp_path / "cut", settings, stop_at_two)
    resumed = tune(str(tiny_model), data, by_id, tmp_path / "cut", settings, silent)
    found = [
        [row["loss"] for row in json.loads((folder / card.adapter_id / "losses.json").read_text()) if "loss" in row]
        for folder, card in ((tmp_path / "whole", whole), (tmp_path / "cut", resumed))
    ]
    assert found[1] == pytest.approx(found[0], abs=1e-6)


def test_auto_is_choices_where_the_bundled_model_answers_from_passages(correction):
    data = build_examples(variants(correction, 2), ONE_SIDE)
    without = dataclasses.replace(data, train=tuple(dataclasses.replace(e, passages=()) for e in data.train))
    assert with_loss(str(BUNDLED), data, TuneSettings()).loss == "choices"
    assert with_loss(str(BUNDLED), without, TuneSettings()).loss == "tokens", "a task beyond chat has no passages"
    assert with_loss(str(BUNDLED), data, TuneSettings(loss="tokens")).loss == "tokens"
    assert with_loss("some/model", data, TuneSettings()).loss == "tokens"
    assert with_loss("some/model", data, TuneSettings(loss="choices")).loss == "choices"


def test_the_check_names_the_loss_and_what_is_learned(tiny_model, correction):
    rows = [*variants(correction, 2), dataclasses.replace(correction, correction_id="n", corrected=REFUSAL, should_abstain=True)]
    rows[-1] = dataclasses.replace(rows[-1], evidence=(), question="is it blue", cluster="other")
    data = build_examples(rows, ONE_SIDE)
    found = preflight(str(tiny_model), data, rows, dataclasses.replace(SETTINGS, batch_size=1))
    assert found.passed, found.findings
    told = {finding.name: finding.text for finding in found.findings}
    assert (
        told["loss"] == "on the choices of 2 rows, on the tokens of 1 (refusals, and answers that are no units of their passages)"
    )
    assert found.sample[1] == "Descale the kettle every 3 months. [1]<|end|>", "the whole answer is shown"
    model, tokenizer = load_base(str(tiny_model), "fp32")
    plain = check_rows(data, {row.correction_id: row for row in rows}, tokenizer, stop_token_ids(model, tokenizer), 2048)
    assert not any(row.allowed for row in plain.train)
