"""The public benchmark's questions are what its README says."""

import json
import tomllib

import pytest

from benchmarks.public_manuals import QUESTIONS, questions
from emendo.records import UserError
from eval.facts import missing_facts
from sft.debian_packages import fetch

MANUALS = tomllib.loads((QUESTIONS / "manuals.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MANUALS)
def test_a_manuals_questions_can_be_scored(name):
    rows = [json.loads(line) for line in (QUESTIONS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == [f"{name}-{n:02}" for n in range(1, 13)]
    answerable = [row for row in rows if row["answerable"]]
    assert len(answerable) == 10
    for row in answerable:
        assert row["quotes"] and row["pages"] and row["facts"]
        assert missing_facts(" ".join(quote["text"] for quote in row["quotes"]), row["facts"]) == []
        assert {str(quote["page"]) for quote in row["quotes"]} <= set(map(str, row["pages"]))


def test_as_many_dev_as_test_manuals_and_each_has_its_questions():
    splits = [manual["split"] for manual in MANUALS.values()]
    assert splits.count("dev") == splits.count("test") == len(splits) / 2
    assert {path.stem for path in QUESTIONS.glob("*.jsonl")} == set(MANUALS)


def test_questions_are_put_as_the_scorer_reads_them(tmp_path):
    row = {
        "id": "m-01",
        "question": "How?",
        "answerable": True,
        "pages": ["Help/a.txt"],
        "quotes": [{"page": "Help/a.txt", "text": "So."}],
    }
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "qa.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"id": "m-02", "question": "?", "answerable": False}))
    [asked] = questions(folder)
    assert (asked.index, asked.row["quote"], asked.row["pages"]) == ("m", "So.", ["Help/a.txt", "a.txt"])


def test_a_package_that_cannot_be_fetched_is_named_with_the_repair(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"cannot fetch no-such-manual: .*apt-get update"):
        fetch("no-such-manual", tmp_path, "1")
