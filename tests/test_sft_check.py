"""What `emendo tune check` finds before the first step, and that checking changes nothing."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
from conftest import make_chunk
from test_sft_trainer import silent

from emendo.base_model import load_base, stop_token_ids
from emendo.cli import main
from emendo.records import Correction, Hit, UserError
from rag.prompt import REFUSAL
from sft.check import check_data, check_rows, check_step, find_leaks, require
from sft.cleaning import contradictions
from sft.corrections import write_corrections
from sft.estimate import Memory, check_room, memory_of
from sft.examples import ExampleSettings, build_examples
from sft.formats import read_examples
from sft.preflight import preflight
from sft.train import TuneSettings, build_trainer, tune

ASKED = ("how often do i descale", "descale when", "lime in it, what now", "cleaning interval please", "what about lime")
SETTINGS = TuneSettings(rank=4, alpha=8, dropout=0.2, batch_size=2, epochs=1, max_tokens=2048)
ALL_TRAIN = ExampleSettings(validation_share=0, refusal_share=0)


@pytest.fixture
def rows(correction) -> list[Correction]:
    return [dataclasses.replace(correction, correction_id=f"k{n}", question=q, cluster=f"s{n}") for n, q in enumerate(ASKED)]


def states(findings) -> dict[str, str]:
    return {finding.name: finding.state for finding in findings}


def texts(findings) -> dict[str, str]:
    return {finding.name: finding.text for finding in findings}


def test_everything_is_checked_and_one_row_is_shown_with_what_is_learned(tiny_model, rows):
    found = preflight(str(tiny_model), build_examples(rows, ExampleSettings(validation_share=0.2)), rows, SETTINGS)
    assert found.passed
    seen = states(found.findings)
    assert set(seen) >= {"leaks", "lengths", "labelled", "end of turn", "template", "memory", "dry step", "time"}
    assert "'<|end|>' (1)" in texts(found.findings)["end of turn"]
    assert sum(count for _, count in found.lengths) >= 5
    prompt, labelled = found.sample
    assert prompt.endswith("<|assistant|>")
    assert labelled == "Descale the kettle every 3 months. [1]<|end|>"


def test_the_run_after_a_check_is_the_run_without_it(tiny_model, rows, tmp_path):
    import torch

    def losses(checked: bool) -> list[float]:
        model, tokenizer = load_base(str(tiny_model), "nf4", training=True)
        by_id = {row.correction_id: row for row in rows}
        data = build_examples(rows, ExampleSettings(validation_share=0.2, refusal_share=0))
        ready = check_rows(data, by_id, tokenizer, stop_token_ids(model, tokenizer), 2048)
        seen: list[float] = []
        torch.manual_seed(3)
        run = tmp_path / str(checked)
        progress = lambda step, steps, figures: seen.append(figures.get("loss"))  # noqa: E731
        trainer = build_trainer(model, tokenizer, ready.train, ready.validation, run, SETTINGS, progress)
        if checked:
            require(check_step(trainer, ready.train, ready.validation, Memory(0, 0), "nf4"))
        trainer.train()
        return seen

    assert losses(True) == losses(False)


def test_a_section_on_both_sides_is_a_leak(rows):
    data = build_examples(rows, ALL_TRAIN)
    same_section = dataclasses.replace(data.train[0], split="validation")
    assert "its section 's0' is trained on" in find_leaks(data.train, [same_section])[0]
    same_words = dataclasses.replace(same_section, correction_id="v", cluster="other")
    assert "correction v nearly equals k0" in find_leaks(data.train, [same_words])[0]
    leaky = dataclasses.replace(data, validation=(same_words,))
    with pytest.raises(UserError, match="leaks: correction v nearly equals k0"):
        require(check_data(leaky, rows))


def test_nothing_to_train_on_is_a_failure_and_not_ready_to_tune(tiny_model, rows, tmp_path):
    data = build_examples(rows[:1], ExampleSettings(validation_share=0.9))
    assert not data.train
    assert not preflight(str(tiny_model), data, rows, SETTINGS).passed
    with pytest.raises(UserError, match=r"examples: 0 to train on, 1 to validate; add rows.*validation_share"):
        tune(str(tiny_model), data, {row.correction_id: row for row in rows}, tmp_path, SETTINGS, silent)


def test_one_prompt_with_two_answers_in_a_file_is_told(tmp_path):
    lines = [{"prompt": "Which fuse?", "completion": said, "split": "train"} for said in ("10 A.", "13 A.")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data, made = read_examples(tmp_path / "rows.jsonl")
    [found] = [finding for finding in check_data(data, made) if finding.name == "contradictions"]
    assert (found.state, found.text) == ("note", "1 prompts with differing answers, which are all learned")


def test_the_dry_step_is_as_large_as_the_largest_of_the_run(tiny_model, rows, tmp_path):
    """One row: with two epochs a batch of four holds it twice, and not more."""
    settings = dataclasses.replace(SETTINGS, batch_size=4, epochs=2, bits="fp32")
    found = texts(preflight(str(tiny_model), build_examples(rows[:1], ALL_TRAIN), rows, settings).findings)
    length = int(found["lengths"].split()[0])
    assert found["dry step"].startswith(f"2 rows of up to {length} tokens: ")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_a_dry_step_without_enough_memory_names_the_cure(tiny_model, rows, monkeypatch, error):
    def full(*given, **more):
        raise error

    monkeypatch.setattr("torch.nn.functional.cross_entropy", full)
    found = preflight(str(tiny_model), build_examples(rows, ALL_TRAIN), rows, dataclasses.replace(SETTINGS, bits="fp32"))
    assert states(found.findings)["dry step"] == "fail"
    assert "tune.batch_size=1" in texts(found.findings)["dry step"]


def long_correction(correction: Correction, words: int) -> Correction:
    """One more passage, ranked lowest, of random words."""
    noise = " ".join(random.Random(1).choices(("valve", "pump", "hose", "lid"), k=words))
    return dataclasses.replace(correction, hits=(*correction.hits, Hit(make_chunk("c4", noise), 0.1, 4)))


def test_a_row_that_is_too_long_loses_its_lowest_passages_never_its_answer(tiny_model, correction):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    row = long_correction(correction, 20_000)  # about 100,000 tokens
    data = build_examples([row], dataclasses.replace(ALL_TRAIN, orders=3))
    ready = check_rows(data, {row.correction_id: row}, tokenizer, stop_token_ids(model, tokenizer), 900)
    assert states(ready.findings)["shortened"] == "note"
    assert "3 rows show fewer passages" in texts(ready.findings)["shortened"]
    for example, encoded in zip(ready.data.train, ready.train, strict=True):
        place = example.passages.index("c1") + 1
        assert "c4" not in example.passages
        assert example.messages[-1]["content"] == f"Descale the kettle every 3 months. [{place}]"
        assert len(encoded.input_ids) <= 900
    assert data.hashes != ready.data.hashes, "the card names the rows as they were trained"


def test_a_row_too_long_with_its_evidence_alone_is_named(tiny_model, correction):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    row = dataclasses.replace(correction, corrected="Wait. " * 20_000 + "[1]")
    data = build_examples([row], ALL_TRAIN)
    ready = check_rows(data, {"k1": row}, tokenizer, stop_token_ids(model, tokenizer), 2048)
    assert states(ready.findings) == {"rows": "fail"}
    with pytest.raises(UserError, match=r"correction k1 has 12\d{4} tokens, the limit is 2048.*raise --set tune.max_tokens"):
        require(ready.findings)


def test_an_answer_that_holds_the_end_of_turn_is_named(tiny_model, correction):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    row = dataclasses.replace(correction, corrected="Press <|end|> twice. [1]")
    ready = check_rows(build_examples([row], ALL_TRAIN), {"k1": row}, tokenizer, stop_token_ids(model, tokenizer), 2048)
    assert "holds '<|end|>', at which the model stops" in texts(ready.findings)["rows"]


def test_the_same_question_answered_differently_goes_to_review(correction):
    other = dataclasses.replace(correction, correction_id="k2", question="How often do I descale?", corrected="Never. [1]")
    same = dataclasses.replace(correction, correction_id="k3", question="How often do I DESCALE")
    rejected = dataclasses.replace(other, correction_id="k4", status="rejected")
    refused = dataclasses.replace(correction, correction_id="k5", should_abstain=True, corrected=REFUSAL)
    assert contradictions([correction, same, rejected]) == []
    [group] = contradictions([correction, other, same, rejected])
    assert [c.correction_id for c in group] == ["k1", "k2", "k3"]
    assert contradictions([correction, refused]), "answering and refusing contradict each other"


def test_too_little_memory_says_what_would_fit():
    gib = 1024**3
    need = Memory(weights=2 * gib, adapters=gib, per_token=gib // 1000)
    assert check_room(need, 2000, 500, 4, 6 * gib, "nf4") == ""
    assert "batch_size=2 --set tune.accumulate=2" in check_room(need, 2000, 500, 4, 4 * gib, "nf4")
    assert "tune.checkpointing=true" in check_room(need, 2000, 500, 4, int(3.2 * gib), "nf4")
    assert "--bits nf4 or a smaller base model" in check_room(need, 0, 1, 4, 2 * gib, "bf16")


def test_memory_is_foretold_from_the_configuration(tiny_model):
    model, _ = load_base(str(tiny_model), "bf16")
    exact = sum(p.numel() * p.element_size() for p in model.parameters())
    assert memory_of(str(tiny_model), "bf16", 4).weights == exact
    assert memory_of(str(tiny_model), "nf4", 4).weights < exact


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "holds no config.json"),
        ({"model_type": "no-such-family"}, "of a family that cannot be tuned"),
        ({"model_type": "clip"}, "of a family that cannot be tuned"),
    ],
)
def test_a_base_model_that_cannot_be_tuned_is_told_before_anything_is_loaded(tmp_path, config, message):
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        memory_of(str(tmp_path), "nf4", 4)


def test_a_gated_model_says_what_to_do(monkeypatch):
    import transformers

    def refuse(*args, **kwargs):
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it.\n401 Client Error.")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(UserError, match=r"'meta/some' is gated: accept its licence"):
        memory_of("meta/some", "nf4", 4)


def test_the_command_ends_with_1_when_a_check_fails(tiny_model, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "workspace"))
    write_corrections(tmp_path / "c.jsonl", rows)
    assert main(["corrections", "import", str(tmp_path / "c.jsonl")]) == 0
    check = ["tune", "check", "--model", f"hf:{tiny_model}", "--bits", "fp32", "--set", "examples.validation_share=0"]
    capsys.readouterr()
    assert main([*check, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]
    assert main([*check, "--set", "tune.max_tokens=64"]) == 1
    out = capsys.readouterr().out
    assert "the limit is 64" in " ".join(out.split())
    assert "not ready" in out
    assert main(["tune", "check", "--model", "hf:./missing"]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["tune", "check", "--preference"]) == 2, "never trains when asked to check"


def test_a_task_is_checked_and_not_tuned(tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "workspace"))
    lines = ['kind = "label"', 'prompt = "Hot or cold?"', 'labels = "hot, cold"', 'train = "train.jsonl"', 'test = "train.jsonl"']
    (tmp_path / "t.toml").write_text("\n".join(lines))
    rows = [{"id": f"r{n}", "input": f"kettle {n}", "output": ("hot", "cold")[n % 2]} for n in range(8)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    check = ["tune", "check", "--task", str(tmp_path / "t.toml"), "--model", f"hf:{tiny_model}", "--bits", "fp32"]
    capsys.readouterr()
    assert main([*check, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    assert found["sample"][1] in ("hot<|end|>", "cold<|end|>")
    assert main([*check, "--set", "tune.max_tokens=16"]) == 1
    assert "the limit is 16" in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.rglob("adapter_model.safetensors")), "nothing was tuned"


def test_a_run_that_does_not_fit_ends_before_anything_is_loaded(tiny_model, rows, tmp_path, monkeypatch):
    monkeypatch.setattr("sft.check.free_memory", lambda: 100_000)  # bytes
    monkeypatch.setattr("sft.train.load_base", lambda *given, **more: pytest.fail("loaded"))
    by_id = {row.correction_id: row for row in rows}
    with pytest.raises(UserError, match=r"memory: .*--bits nf4 or a smaller base model"):
        tune(
            str(tiny_model), build_examples(rows, ALL_TRAIN), by_id, tmp_path, dataclasses.replace(SETTINGS, bits="bf16"), silent
        )
