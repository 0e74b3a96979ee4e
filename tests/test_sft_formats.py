"""Examples in the field's formats: what goes out comes back, and each bad line is named with its cure."""

from __future__ import annotations

import dataclasses
import json

import pytest

from emendo.cli import main
from emendo.records import UserError
from sft.corrections import write_corrections
from sft.examples import ExampleSettings, build_examples
from sft.formats import FORMATS, read_examples, write_examples

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_written_is_read_back(form, correction, tmp_path):
    rows = [
        dataclasses.replace(
            correction, correction_id=f"k{n}", cluster=f"s{n // 2}", question=f"question {n} of many\u2028on 2 lines about lime"
        )
        for n in range(8)
    ]
    data = build_examples(rows, ExampleSettings(validation_share=0.3, refusal_share=0.5, orders=2))
    assert data.validation
    assert write_examples(tmp_path / "e.jsonl", data, form) == len(data.train) + len(data.validation)
    again, corrections = read_examples(tmp_path / "e.jsonl")
    plain = lambda examples: [(e.messages, e.correction_id, e.cluster, e.split) for e in examples]  # noqa: E731
    assert plain(again.train) == plain(data.train)
    assert plain(again.validation) == plain(data.validation)
    assert {c.correction_id for c in corrections} == {c.correction_id for c in rows}


def test_rows_as_others_write_them(tmp_path):
    rows = [
        {"prompt": "How hot?", "completion": "95 °C."},
        {"instruction": "Answer.", "input": "How hot?", "output": "95 °C, at most."},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "Hello."}], "system": "Be brief."},
        {"instruction": "And then?", "output": "Wait.", "history": [["First?", "Fill it."]]},
        {"messages": [Q, A]},
        {"messages": [Q, A]},
    ]
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    data, corrections = read_examples(tmp_path / "e.jsonl", ExampleSettings(validation_share=0))
    said = [[m["content"] for m in e.messages] for e in data.train]
    assert said == [
        ["How hot?", "95 °C."],
        ["Answer.\n\nHow hot?", "95 °C, at most."],
        ["Be brief.", "hi", "Hello."],
        ["First?", "Fill it.", "And then?", "Wait."],
        ["q", "a"],
    ]
    assert [reason for _, reason in data.cleaned.dropped] == ["said again"]
    assert corrections[0].corrected == "95 °C."
    held = read_examples(tmp_path / "e.jsonl", ExampleSettings(validation_share=0.4))[0]
    assert len(held.validation) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "q a"}, r"has text; expected messages, or prompt and completion, or instruction"),
        ({"messages": "q"}, r"`messages` is not a list of objects"),
        ({"conversations": {"from": "human"}}, r"`conversations` is not a list"),
        ({"messages": [{"role": "bot", "content": "a"}]}, r"unknown role 'bot'; expected system, user or assistant"),
        ({"messages": [{"role": "tool", "content": "a"}, A]}, r"unknown role 'tool'"),
        ({"messages": [Q, {**A, "content": " "}]}, r"the assistant turn is empty; write it or delete the row"),
        ({"messages": [Q, {**A, "content": None}]}, r"the content of the assistant turn is NoneType; expected text"),
        ({"prompt": "q", "completion": ""}, r"the assistant turn is empty"),
        ({"instruction": "", "output": "a"}, r"the user turn is empty"),
        ({"instruction": "q", "output": "a", "history": [1]}, r"`history` is not a list of pairs"),
        ({"instruction": "q", "output": "a", "history": [["q"]]}, r"`history` is not a list of pairs"),
        ({"prompt": "q \ud800", "completion": "a"}, r"holds half a character"),
        ({"messages": [Q]}, r"the last turn is not the assistant's"),
        ({"messages": []}, r"the last turn is not the assistant's"),
        ({"messages": [Q, Q, A]}, r"the turns are user, user, assistant; expected user and assistant in turn"),
        ({"messages": [Q, A], "split": "test"}, r"split 'test'; expected train or validation"),
    ],
)
def test_a_bad_row_is_named_with_its_cure(row, message, tmp_path):
    (tmp_path / "e.jsonl").write_text(json.dumps({"messages": [Q, A]}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(UserError, match=r"e\.jsonl:2: " + message):
        read_examples(tmp_path / "e.jsonl")


def test_all_bad_lines_are_named_at_once(tmp_path):
    lines = ["{broken", json.dumps({"messages": [Q, A]}), "[1]", *[json.dumps({"messages": [Q]})] * 4]
    (tmp_path / "e.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError) as error:
        read_examples(tmp_path / "e.jsonl")
    told = str(error.value)
    assert [f"e.jsonl:{n}:" in told for n in range(1, 8)] == [True, False, True, True, True, True, False]
    assert told.endswith("; and 1 more")


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"\xff\xfe{}", "is not UTF-8"), (None, "does not exist; give a JSONL file")]
)
def test_files_that_cannot_be_read(content, message, tmp_path):
    if content is not None:
        (tmp_path / "e.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_examples(tmp_path / "e.jsonl")


def test_the_command_shows_writes_and_lists_contradictions(correction, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "workspace"))
    later = dataclasses.replace(correction, correction_id="k2", corrected="Descale it when the light blinks. [1]")
    write_corrections(tmp_path / "c.jsonl", [correction, later])
    assert main(["corrections", "import", str(tmp_path / "c.jsonl")]) == 0
    assert main(["examples"]) == 0
    out = capsys.readouterr().out
    assert "Descale it when the light blinks. [1]" in out
    assert "left out 1: contradicted by a later correction" in out
    assert main(["examples", "--contradictions", "--json"]) == 0
    [group] = json.loads(capsys.readouterr().out)
    assert [row["number"] for row in group] == [1, 2]
    assert main(["examples", "--to", str(tmp_path / "out.jsonl"), "--format", "sharegpt"]) == 0
    assert main(["examples", "--examples", str(tmp_path / "out.jsonl"), "--json"]) == 0
    capsys.readouterr()
    (tmp_path / "bad.jsonl").write_text('{"messages": []}')
    assert main(["tune", "check", "--examples", str(tmp_path / "bad.jsonl")]) == 2
    assert "bad.jsonl:1: the last turn" in capsys.readouterr().err


def test_a_file_of_examples_is_tuned_on(tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "workspace"))
    rows = [{"prompt": f"What is {n}?", "completion": f"A number, {n}."} for n in range(4)]
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ["--examples", str(tmp_path / "e.jsonl"), "--model", f"hf:{tiny_model}", "--set", "tune.epochs=1"]
    assert main(["tune", *options, "--set", "tune.rank=4", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert len(card["example_hashes"]) == len(card["correction_ids"]) == 4
