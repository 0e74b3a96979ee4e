"""Files that people give: what Windows' editors write is read, and a line that is no row is named with its cure."""

from __future__ import annotations

import pytest

from emendo.config import file_overrides
from emendo.files import read_jsonl, write_whole
from emendo.records import UserError

BOM = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_not_part_of_the_first_row(tmp_path):
    (tmp_path / "q.jsonl").write_bytes(BOM + b'{"id": "q1"}\r\n{"id": "q2"}\r\n')
    rows = list(read_jsonl(tmp_path / "q.jsonl", "questions"))
    assert rows == [(f"{tmp_path}/q.jsonl:1", {"id": "q1"}), (f"{tmp_path}/q.jsonl:2", {"id": "q2"})]
    (tmp_path / "s.toml").write_bytes(BOM + b"[tune]\nepochs = 2\n")
    assert file_overrides(tmp_path / "s.toml") == ["tune.epochs=2"]


def test_brackets_without_end_are_a_bad_line(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"id": "q1"}\n' + "[" * 100_000 + "\n")
    with pytest.raises(UserError, match=r"q.jsonl:2: not JSON \(maximum recursion depth.*; mend or delete the line"):
        list(read_jsonl(tmp_path / "q.jsonl", "questions"))


def test_a_folder_is_not_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\); give a JSONL file"):
        list(read_jsonl(tmp_path, "questions"))


def test_a_text_that_cannot_be_written_names_its_own_place_and_leaves_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    for place, fault in ((tmp_path / "none" / "out", FileNotFoundError), (tmp_path / "out", IsADirectoryError)):
        with pytest.raises(fault) as told:
            write_whole(place, "x")
        assert told.value.filename == str(place)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
