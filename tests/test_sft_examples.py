"""Corrections to examples: what is learned, from which passages, with which citations; and what is refused, and why."""

from __future__ import annotations

import dataclasses
import json

import pytest

from emendo.base_model import stop_token_ids
from emendo.records import Answer, UserError
from rag.prompt import REFUSAL, build_messages
from sft.cleaning import clean
from sft.corrections import cite, correct, read_corrections, write_corrections
from sft.encoding import encode
from sft.examples import ExampleSettings, build_examples

PLAIN = ExampleSettings(orders=1, refusal_share=0.0, validation_share=0.0)


@pytest.fixture
def answer(hits) -> Answer:
    return Answer("a1", "how often", "how often", "Use an earthed socket. [2]", (), hits, False, 0.9, "quote", "", "p", "i", {})


def test_the_prompt_is_the_one_that_was_served(correction):
    [example] = build_examples([correction], PLAIN).train
    served = build_messages(correction.question, [hit.chunk for hit in correction.hits])
    assert list(example.messages[:-1]) == served
    assert example.messages[-1] == {"role": "assistant", "content": "Descale the kettle every 3 months. [1]"}


def test_citations_follow_their_passage_through_shuffled_orders(correction):
    settings = dataclasses.replace(PLAIN, orders=6)
    examples = build_examples([correction], settings).train
    places = {example.passages.index("c1") + 1 for example in examples}
    assert len(places) > 1, "the right passage is not always first"
    for example in examples:
        assert example.messages[-1]["content"] == f"Descale the kettle every 3 months. [{example.passages.index('c1') + 1}]"


def test_without_its_evidence_the_same_question_is_refused(correction):
    examples = build_examples([correction], dataclasses.replace(PLAIN, refusal_share=1.0)).train
    refused = [example for example in examples if example.messages[-1]["content"] == REFUSAL]
    assert len(refused) == 1
    assert "c1" not in refused[0].passages


def test_clusters_never_stand_on_both_sides_of_the_split(correction):
    rows = [
        dataclasses.replace(correction, correction_id=f"k{n}", question=f"question number {n} about lime", cluster=f"s{n // 2}")
        for n in range(20)
    ]
    data = build_examples(rows, dataclasses.replace(PLAIN, validation_share=0.3))
    assert data.validation
    assert not {e.cluster for e in data.train} & {e.cluster for e in data.validation}


def test_only_approved_corrections_are_learned(correction):
    with pytest.raises(UserError, match="none is approved"):
        build_examples([dataclasses.replace(correction, status="open")], PLAIN)


def test_what_tuning_cannot_mend_is_left_out_with_its_reason(correction):
    missed = dataclasses.replace(correction, correction_id="miss", question="another one", evidence=("c9",))
    cleaned = clean([missed, correction])
    assert [c.correction_id for c in cleaned.kept] == ["k1"]
    assert dict(cleaned.dropped)["miss"].startswith("retrieval miss")


def test_an_answer_left_as_it_was_is_kept_as_approved(correction):
    approved = dataclasses.replace(correction, rejected=correction.corrected)
    assert clean([approved]).kept == (approved,)


def test_the_latest_correction_of_a_question_wins(correction):
    later = dataclasses.replace(
        correction, correction_id="later", question="How often do I descale?", corrected="Use citric acid only. [1]"
    )
    cleaned = clean([correction, later])
    assert [c.correction_id for c in cleaned.kept] == ["later"]
    assert cleaned.dropped == (("k1", "contradicted by a later correction of the same question"),)


def test_near_duplicates_are_learned_once(correction):
    words = "please tell me exactly how often i should descale this kettle in a kitchen with very hard water"
    rows = [
        dataclasses.replace(correction, question=words),
        dataclasses.replace(correction, correction_id="k2", question=words + " ok"),
    ]
    cleaned = clean(rows)
    assert [c.correction_id for c in cleaned.kept] == ["k2"]
    assert cleaned.dropped[0][1] == "near-duplicate of k2"


def test_a_correction_made_in_the_chat(answer):
    made = correct(answer, "Descale the kettle every 3 months. Use citric acid only.", ["c1"], author="ana")
    assert made.corrected == "Descale the kettle every 3 months. [1] Use citric acid only. [1]"
    assert (made.status, made.cluster, made.rejected) == ("open", "kettle/Care > Descaling", answer.text)
    refused = correct(answer, "", should_abstain=True)
    assert refused.corrected == REFUSAL


@pytest.mark.parametrize(
    ("text", "evidence", "message"),
    [
        ("  ", [], "is empty"),
        ("Use an earthed socket. [2]", [], "is the same"),
        ("Descale it.", ["c9"], "not among the passages"),
    ],
)
def test_corrections_that_say_nothing_are_refused(answer, text, evidence, message):
    with pytest.raises(UserError, match=message):
        correct(answer, text, evidence)


def test_citing_keeps_marks_that_are_there():
    assert cite("Yes. [2]", [1]) == "Yes. [2]"
    assert cite("1. Open it.\n2. Close it.", [3]) == "1. Open it. [3]\n2. Close it. [3]"


def test_corrections_survive_export_and_import(tmp_path, correction):
    write_corrections(tmp_path / "c.jsonl", [correction])
    assert read_corrections(tmp_path / "c.jsonl") == [correction]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", r"c\.jsonl:2: not JSON"),
        ("[1, 2]", r"c\.jsonl:2: expected a JSON object, got list"),
        ('{"question": "q"}', r"c\.jsonl:2: `corrected` is missing or empty"),
        ('{"question": "q", "corrected": " "}', r"c\.jsonl:2: `corrected` is missing or empty"),
        ('{"question": "q", "corrected": "a"}', r"c\.jsonl:2: the row has no passages"),
        ('{"question": "q", "corrected": "a", "hits": []}', r"c\.jsonl:2: missing or misshapen field"),
        (json.dumps({"question": "q", "corrected": "a", "hits": 3}), r"c\.jsonl:2: missing or misshapen field"),
        ('{"question": "q \\ud83d", "corrected": "a"}', r"c\.jsonl:2: holds half a character"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_read(tmp_path, correction, line, message):
    write_corrections(tmp_path / "c.jsonl", [correction])
    with (tmp_path / "c.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=message):
        read_corrections(tmp_path / "c.jsonl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hits": None}, "misshapen field expected a list, got None"),
        ({"hits": [{"chunk": {"text": None}}]}, "misshapen field 'Chunk.chunk_id'"),
        ({"should_abstain": "no"}, "expected bool, got 'no'"),
        ({"evidence": [["c1"]]}, "`evidence` is not a list of texts"),
        ({"cluster": 3}, "`cluster` is int; expected text"),
    ],
)
def test_a_field_of_another_kind_is_named(tmp_path, correction, changes, message):
    (tmp_path / "c.jsonl").write_text(json.dumps({**dataclasses.asdict(correction), **changes}))
    with pytest.raises(UserError, match=message):
        read_corrections(tmp_path / "c.jsonl")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "latin.jsonl").write_bytes("{'für'}".encode("latin-1"))
    for name, message in (("no.jsonl", "does not exist"), ("empty.jsonl", "is empty"), ("latin.jsonl", "not UTF-8")):
        with pytest.raises(UserError, match=message):
            read_corrections(tmp_path / name)


def test_the_mask_covers_the_answer_and_its_end_and_nothing_else(tiny_model, correction):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    [example] = build_examples([correction], PLAIN).train
    row = encode(example, tokenizer, {tokenizer.eos_token_id})
    messages = [dict(message) for message in example.messages]
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert row.input_ids[: len(prompt)] == prompt, "the generation encoding is an exact prefix"
    assert row.completion_mask == [0] * len(prompt) + [1] * (len(row.input_ids) - len(prompt))
    labelled = [token for token, mask in zip(row.input_ids, row.completion_mask, strict=True) if mask]
    assert tokenizer.decode(labelled) == messages[-1]["content"] + "<|end|>"


def test_stop_ids_come_from_the_generation_config(tiny_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    assert stop_token_ids(model, tokenizer) == {1}
    model.generation_config.eos_token_id = [1, 4]
    assert stop_token_ids(model, tokenizer) == {1, 4}


def test_imported_rows_show_the_passages_as_the_model_is_shown_them(tmp_path, monkeypatch, capsys):
    from emendo.cli import main

    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "w"))
    parts = [
        f"The {part} of the kettle is made of steel and is cleaned with a cloth." for part in ("lid", "base", "spout", "body")
    ]
    care = "\n\n".join(f"## Care {n}\n\nDescale the kettle every {n} months. " + " ".join(parts) for n in range(3, 8))
    (tmp_path / "kettle.md").write_text(f"# Kettle K1\n\n{care}\n")
    row = {"question": "how often do i descale the kettle", "corrected": "Every 4 months."}
    (tmp_path / "light.jsonl").write_text(json.dumps(row | {"evidence": ["Descale the kettle every 4 months."]}))
    assert main(["index", str(tmp_path / "kettle.md")]) == 0
    shown = []
    for model in ([], ["--model", "hf:some/other"]):
        assert main(["corrections", "import", str(tmp_path / "light.jsonl"), *model]) == 0
        assert main(["corrections", "export", str(tmp_path / "out.jsonl")]) == 0
        shown.append([hit.chunk.text for hit in read_corrections(tmp_path / "out.jsonl")[-1].hits])
    bundled, other = shown
    assert len(bundled) == 2 and all(text.count(".") <= 3 for text in bundled), "cut to three sentences, as it is served"
    assert len(other) == 4 and all(text.count(".") == 5 for text in other)
    assert any("every 4 months" in text for text in bundled)
