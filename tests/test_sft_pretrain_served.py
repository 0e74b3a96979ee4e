"""The small model's second training: rows as serving shows them, and the loss of the choices that serving leaves open."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from emendo.units import split_units
from rag.prompt import REFUSAL
from sft import pretrain
from sft.grammar import make_manual
from sft.pretrain_probe import exam_rows
from sft.pretrain_rows import QARow, group_rows
from sft.pretrain_served import encode_served, served_batches, served_loss, served_row

torch = pytest.importorskip("torch")
BUNDLED = Path(__file__).parents[1] / "data" / "model"


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BUNDLED)


@pytest.fixture(scope="module")
def rows() -> list[QARow]:
    rng = random.Random(7)
    return [row for row in (served_row(rng, ()) for _ in range(150)) if row]


def test_no_question_of_an_invented_manual_has_two_answers():
    """An exam on questions that two passages answer differently would measure luck."""
    rng = random.Random(8)
    for _ in range(40):
        manual = make_manual(rng, 6)
        for ask in manual.asks:
            same = {
                other.units for other in manual.asks if other.question.lower().rstrip("?") == ask.question.lower().rstrip("?")
            }
            assert same == {ask.units}


def test_exam_asks_for_what_its_answer_tells():
    rows = [row for row in exam_rows(80, ()) if row.cited]
    phone = [row.answer for row in rows if "phone number" in row.question.lower()]
    warranty = [row.answer for row in rows if "covered by the" in row.question.lower()]
    assert all(any(c.isdigit() for c in answer) for answer in phone)
    assert all("warranty" in answer for answer in warranty)


def test_answers_are_units_as_decoding_prints_them(rows):
    for row in rows:
        if not row.cited:
            assert (row.answer, row.units) == (REFUSAL, ())
            continue
        printed = [unit.text for unit in split_units(row.passages[row.cited - 1][1], row.cited)]
        assert row.units
        assert all(unit in printed for unit in row.units)


def test_some_rows_are_cut_and_a_lost_answer_is_refused(rows):
    sizes = [max(len(split_units(text, 1)) for _, text in row.passages) for row in rows]
    assert 0.35 < sum(size <= 3 for size in sizes) / len(rows) < 0.7
    assert 0.15 < sum(not row.cited for row in rows) / len(rows) < 0.4


def test_every_open_choice_holds_the_token_that_is_taken(rows, tokenizer):
    rng = random.Random(0)
    for row in rows[:40]:
        tokens = encode_served(row, tokenizer, rng)
        assert tokens is not None
        answer = tokens.ids[-len(tokens.allowed) :]
        assert tokenizer.decode(answer) == row.answer + tokenizer.eos_token
        assert [weight > 0 for weight in tokens.weights] == [False] * (len(tokens.ids) - len(answer)) + [True] * len(answer)
        assert all(own in allowed for own, allowed in zip(answer, tokens.allowed, strict=True) if allowed)
        assert any(tokens.allowed) == bool(row.cited)


def test_loss_is_the_probability_of_the_answer_among_the_units(tokenizer):
    """Two units that differ in one token: by hand from the logits. What is not allowed has no share in it."""
    row = QARow("How hot?", (("T > A", "It is 20 °C."), ("T > B", "It is 70 °C.")), "It is 70 °C. [2]", 2, ("It is 70 °C.",))
    tokens = encode_served(row, tokenizer, random.Random(0))
    assert tokens is not None
    answer = tokens.ids[-len(tokens.allowed) :]
    logits = torch.randn(len(answer), len(tokenizer), generator=torch.Generator().manual_seed(1))
    found = served_loss(torch.zeros(len(answer)), logits, torch.tensor(answer), torch.zeros(len(answer)), [tokens])
    two, seven = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("It is 20 °C. [1]", "It is 70 °C. [2]"))
    at = next(n for n, (a, b) in enumerate(zip(two, seven, strict=True)) if a != b)
    last = [tokenizer.eos_token_id, *{tokenizer(gap + "It", add_special_tokens=False)["input_ids"][0] for gap in (" ", "\n")}]
    expected = -logits[at][[two[at], seven[at]]].log_softmax(-1)[1] - logits[-1][last].log_softmax(-1)[0]
    assert float(found) == pytest.approx(float(expected), abs=1e-4)


def test_batches_keep_to_their_tokens(tokenizer):
    stream = served_batches(random.Random(0), tokenizer, (), 2000, pool=1)
    for batch in (next(stream) for _ in range(3)):
        assert 0 < max(len(row.ids) for row in batch) * len(batch) <= 2000
    assert group_rows(random.Random(0), [], 100) == []


def test_training_goes_on_from_a_model_and_publishes_it(tmp_path: Path):
    (tmp_path / "pages.json").write_text(json.dumps([[], []]))
    settings = pretrain.PretrainSettings(minutes=0.02, batch_tokens=1024, exam_rows=1, start=str(BUNDLED), other_lr=1e-3)
    figures = pretrain.pretrain(settings, tmp_path / "model", tmp_path)
    assert figures["steps"] >= 1
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 25e6


def test_a_missing_start_names_what_was_expected(tmp_path: Path, caplog):
    (tmp_path / "pages.json").write_text(json.dumps([[], []]))
    none = tmp_path / "none"
    assert pretrain.main(["--start", str(none), "--work", str(tmp_path), "--out", str(tmp_path / "m"), "--minutes", "1"]) == 2
    assert "does not load" in caplog.text
