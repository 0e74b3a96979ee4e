"""Each model family as a tiny random model with its chat template: what is learned, that it stops, that it serves the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import PASSAGES
from families import FAMILIES, MISTRAL, SMOLLM3, Family, make_family

from emendo.base_model import load_base, stop_token_ids
from emendo.chat_template import folds_system, render
from emendo.hf_model import HFChatModel
from emendo.records import Example
from rag.answer import to_langchain
from rag.prompt import build_messages
from sft.encoding import encode
from sft.train import TuneSettings, build_trainer

ANSWER = "Every 3 months. [1]"
OVERFIT = TuneSettings(rank=32, alpha=64, dropout=0.0, learning_rate=1e-2, batch_size=2, epochs=60, save_steps=1000)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory) -> tuple[str, Path]:
    return request.param, make_family(request.param, tmp_path_factory.mktemp("family") / request.param)


def example() -> Example:
    messages = [*build_messages("how often do i descale", PASSAGES[:1]), {"role": "assistant", "content": ANSWER}]
    return Example(tuple(messages), "k1", "kettle", "train", ("c1",))


def test_the_mask_is_exact_and_thinking_is_off(family):
    name, folder = family
    model, tokenizer = load_base(str(folder), "fp32")
    row = encode(example(), tokenizer, stop_token_ids(model, tokenizer))
    start = len(row.input_ids) - row.labelled
    assert row.completion_mask == [0] * start + [1] * row.labelled
    labelled = tokenizer.decode(row.input_ids[start:])
    assert labelled.strip() == ANSWER + FAMILIES[name].stops[-1], "the answer and its end of turn, nothing else"
    served = HFChatModel(model=model, tokenizer=tokenizer, model_id="x")
    prompt = served.encode(to_langchain([dict(m) for m in example().messages[:-1]], "", [])).prompt
    assert row.input_ids[:start] == prompt, "tuned on the very prompt that is served"
    text = tokenizer.decode(prompt)
    assert text.count("<think>") == text.count("</think>"), "no thought is left open"
    assert example().messages[0]["content"] in text, "the instructions are in the prompt"


@pytest.mark.parametrize(
    ("template", "folds"), [("gemma.jinja", True), ("gemma3.jinja", False), (MISTRAL, True), (SMOLLM3, False)]
)
def test_instructions_go_into_the_question_where_a_template_has_no_place_for_them(tiny_model, template, folds):
    """Gemma 2 refuses a system message, and Mistral 7B v0.3 drops it as soon as an answer follows: it would be served only."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = Family("", template, (), ()).chat_template
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How hot?"}]
    asked = render(tokenizer, messages, generate=True)
    whole = render(tokenizer, [*messages, {"role": "assistant", "content": ANSWER}], generate=False)
    assert folds_system(tokenizer) == folds
    assert whole[: len(asked)] == asked
    assert "Be brief." in tokenizer.decode(asked)
    assert ANSWER in tokenizer.decode(whole[len(asked) :])


def test_it_learns_to_stop_and_the_saved_adapter_is_the_trained_one(family, tmp_path):
    """On prompts of one line: the prompt as served is checked above, and 60 steps on it would take six times as long."""
    import torch

    _, folder = family
    model, tokenizer = load_base(str(folder), "nf4", training=True)
    stops = stop_token_ids(model, tokenizer)
    asked = [[{"role": "user", "content": question}] for question in ("how often do i descale", "descale when?")]
    said = {"role": "assistant", "content": ANSWER}
    rows = [encode(Example((*messages, said), "k1", "kettle", "train"), tokenizer, stops) for messages in asked]
    trainer = build_trainer(model, tokenizer, rows, [], tmp_path / "run", OVERFIT, lambda *_: None)
    batch = trainer.data_collator([{"input_ids": row.input_ids, "labels": row.input_ids} for row in rows])
    unpadded = [ids[: len(row.input_ids)] for ids, row in zip(batch["input_ids"].tolist(), rows, strict=True)]
    assert unpadded == [row.input_ids for row in rows], "padded on the right, though the tokenizer says left"
    trainer.train()
    trainer.model.save_pretrained(tmp_path / "adapter")
    served = HFChatModel.load(str(folder), adapter=str(tmp_path / "adapter"), bits="nf4", max_new_tokens=60)
    ids = torch.tensor([rows[0].input_ids])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # as in training
        trained, reloaded = (model.eval()(input_ids=ids).logits.float() for model in (trainer.model, served.model))
    assert torch.equal(trained, reloaded)
    reply = served.invoke(to_langchain(asked[0], "", [])).content
    assert reply.strip() == ANSWER, "it says what it learned and ends there"
