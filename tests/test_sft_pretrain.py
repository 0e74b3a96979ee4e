"""The bundled small model's training: answerable rows, a tokenizer that copies exactly, weights that can repeat, resuming."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rag.prompt import REFUSAL
from sft import pretrain
from sft.grammar import Manual, Passage, make_manual
from sft.pretrain_corpus import cloze_ask, swap_words
from sft.pretrain_init import SIZES, build_model
from sft.pretrain_rows import STAGES, QARow, batches, encode_row, qa_row
from sft.pretrain_tokenizer import train_tokenizer

torch = pytest.importorskip("torch")


def _page(seed: int) -> Manual:
    """A stand-in for a documentation page: invented passages without questions."""
    return Manual(make_manual(random.Random(seed), 5).passages, ())


PAGES = [_page(seed) for seed in range(8)]


@pytest.fixture(scope="module")
def tokenizer():
    rng = random.Random(0)
    texts = [f"{row.messages()[1]['content']} {row.answer}" for row in (qa_row(rng, STAGES[3], PAGES) for _ in range(150))]
    return train_tokenizer(texts, 1024)


def test_every_answer_is_verbatim_text_of_the_cited_passage_or_the_refusal():
    rng = random.Random(3)
    refused = 0
    for _ in range(400):
        row = qa_row(rng, STAGES[rng.randrange(len(STAGES))], PAGES)
        if row.cited:
            text = row.passages[row.cited - 1][1]
            assert row.answer == " ".join(f"{unit} [{row.cited}]" for unit in row.units)
            assert all(unit in text for unit in row.units)
        else:
            assert row.answer == REFUSAL
            refused += 1
    assert 0.12 < refused / 400 < 0.3


def test_a_refused_question_has_its_answer_in_no_passage():
    rng = random.Random(4)
    manual = make_manual(rng, 6)
    ask = manual.asks[0]
    assert any(unit in manual.passages[ask.passage].text() for unit in ask.units)
    for row in (qa_row(rng, STAGES[2], ()) for _ in range(200)):
        if not row.cited:
            assert row.passages
            assert row.units == ()


def test_cloze_question_is_about_a_sentence_of_its_passage():
    rng = random.Random(5)
    passages = (Passage("T > A", (("The relief valve opens at nine bar of pressure.", "Close the drain first, then wait."),)),)
    asks = [ask for ask in (cloze_ask(rng, passages, 0) for _ in range(50)) if ask]
    assert asks
    assert all(unit in passages[0].text() for ask in asks for unit in ask.units)


def test_words_are_swapped_alike_in_all_texts():
    question, passage, answer = swap_words(
        random.Random(1), ["drain valve pressure", "Open the drain valve. Watch the pressure.", "Open the drain valve."], 1.0
    )
    assert answer in passage
    assert "drain" not in answer
    assert set(question.split()) & set(passage.replace(".", "").split())


def test_tokenizer_keeps_text_digits_and_citations(tokenizer):
    text = "Set 1250 ml at 9.5 bar, see [2].\n| É-17 | Grün ± 3 °C [1]"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    pieces = [tokenizer.decode([i]) for i in ids]
    assert [p.strip() for p in pieces if p.strip().isdigit()] == list("125095173")
    assert " [1]" in pieces


def test_template_asks_first_and_its_generation_prompt_is_a_prefix(tokenizer):
    row = QARow("How hot is it?", (("Oven > Data", "It reaches 230 °C."),), "It reaches 230 °C. [1]", 1, ("It reaches 230 °C.",))
    turns = [*row.messages(), {"role": "assistant", "content": row.answer}]
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    prompt = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
    assert prompt.startswith("<|begin|><|user|>How hot is it?\n\n[1] Oven > Data\nIt reaches")
    assert whole == prompt + row.answer + tokenizer.eos_token
    mask = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    labelled = [i for i, m in zip(mask["input_ids"], mask["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(labelled) == row.answer + tokenizer.eos_token


def test_loss_covers_the_answer_and_its_end_only(tokenizer):
    row = qa_row(random.Random(2), STAGES[1], ())
    tokens = encode_row(row, tokenizer, random.Random(0))
    labelled = [i for i, w in zip(tokens.ids, tokens.weights, strict=True) if w]
    assert tokenizer.decode(labelled) == row.answer + tokenizer.eos_token


@pytest.mark.parametrize("size", SIZES)
def test_untrained_weights_repeat_what_they_have_seen(tokenizer, size):
    """The seeded induction heads: in a repeated run of random tokens the next one is right, far above chance (1/1024)."""
    torch.manual_seed(0)
    run = torch.randint(5, 1000, (4, 60))
    with torch.inference_mode():
        logits = build_model(tokenizer, size=size)(torch.cat([run, run], 1)).logits
    guessed = logits[:, 61:-1].argmax(-1)
    assert (guessed == run[:, 2:]).float().mean() > 0.9


def test_every_size_fits_the_repository_in_bf16(tokenizer):
    for size in SIZES:
        model = build_model(tokenizer, size=size)
        vocabulary = (4096 - len(tokenizer)) * model.config.hidden_size  # the bundled tokenizer's
        assert 2 * (model.num_parameters() + vocabulary) <= 25e6


def test_batches_hold_their_tokens_and_rows_of_like_length(tokenizer):
    stream = batches(random.Random(0), lambda: 0.2, tokenizer, PAGES, 1500, pool=2)
    for batch in (next(stream) for _ in range(4)):
        assert 0 < max(len(row.ids) for row in batch) * len(batch) <= 1500
        assert all(len(row.ids) == len(row.weights) for row in batch)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    pages = [[{"header": p.header, "paragraphs": p.paragraphs} for p in page.passages] for page in PAGES]
    (tmp_path / "pages.json").write_text(json.dumps([pages, pages[:2]]))
    return tmp_path


def test_training_publishes_a_loadable_model_and_resumes(work: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = pretrain.PretrainSettings(minutes=0.02, batch_tokens=256, exam_rows=2)
    first = pretrain.pretrain(settings, tmp_path / "model", work)
    again = pretrain.pretrain(
        pretrain.PretrainSettings(minutes=0.04, batch_tokens=256, exam_rows=2), tmp_path / "model", work, resume=True
    )
    assert again["steps"] > first["steps"]
    loaded, tokenizer = (kind.from_pretrained(tmp_path / "model") for kind in (AutoModelForCausalLM, AutoTokenizer))
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id
    assert loaded.dtype == torch.bfloat16
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 25e6


def test_resume_without_a_checkpoint_names_the_cure(work: Path, capsys):
    code = pretrain.main(["--resume", "--work", str(work), "--out", str(work / "model"), "--minutes", "1"])
    assert code == 2
