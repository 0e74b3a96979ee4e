"""The command line as users meet it: the path from a manual to a cited answer, bad input, kills, and the JSON shapes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emendo.cli import main
from emendo.records import Answer
from emendo.store import Store

MANUAL = """# Kettle K1

## Care

### Descaling

Descale the kettle every 3 months. Use citric acid only.

1. Fill the kettle to the MAX mark.
2. Add 20 g of citric acid.
3. Boil once and wait 30 minutes.

### Cleaning the filter

Rinse the mesh filter under the tap once a week.

## Troubleshooting

| Light | Meaning | Remedy |
|---|---|---|
| amber, steady | water at 95 °C | none |
| red, blinking | boiled dry | let it cool for 10 minutes |
"""


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    return tmp_path / "workspace"


@pytest.fixture
def manual(tmp_path) -> Path:
    path = tmp_path / "kettle_k1.md"
    path.write_text(MANUAL, encoding="utf-8")
    return path


def run(capsys, *args: str) -> tuple[int, str, str]:
    code = main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def real_embedder(monkeypatch):
    """The confidence to answer is fitted on it; the hash embedder is enough where nothing is refused."""
    monkeypatch.setenv("EMENDO_EMBEDDER", "minilm")


def test_from_manual_to_cited_answer(capsys, manual, real_embedder):
    assert run(capsys, "index", manual)[0] == 0
    code, out, _ = run(capsys, "ask", "how often should I descale the kettle?")
    assert code == 0
    assert "Descale the kettle every 3 months. [1]" in out
    assert "Kettle K1 > Care > Descaling, kettle_k1.md" in out


def test_many_questions_from_a_file(capsys, manual, tmp_path):
    run(capsys, "index", manual)
    rows = [
        {"id": "a", "question": "what does the red blinking light mean"},
        {"id": "b", "question": "how often do I rinse the filter"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for command in ("search", "ask"):
        out = tmp_path / f"{command}.jsonl"
        assert run(capsys, command, "--questions", tmp_path / "in.jsonl", "--out", out)[0] == 0
        written = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["id"] for row in written] == ["a", "b"]
        hit = written[0]["hits"][0]
        assert hit["doc_id"] == "kettle-k1"
        assert hit["section"].endswith("Troubleshooting")
        assert hit["pages"] == ["kettle_k1.md"]
        assert "boiled dry" in hit["text"]
    assert {"answer", "citations", "abstained", "confidence"} <= set(written[0])


def test_a_terminal_chat_is_kept_once_something_was_asked(capsys, manual, workspace, monkeypatch):
    run(capsys, "index", manual)
    typed = iter([""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    assert run(capsys, "chat")[0] == 0
    store = Store(workspace / "emendo.db")
    assert store.conversations() == []
    typed = iter(["how often do I descale?", "and the filter?", ""])
    assert (
        run(
            capsys,
            "chat",
            "--model",
            "scripted:" + str(bad(manual.parent, "said.json", b'{"how often do I descale?": "Monthly."}')),
        )[0]
        == 0
    )
    (row,) = store.conversations()
    assert [turn.question for turn in store.turns(row["conversation_id"])] == ["how often do I descale?", "and the filter?"]


def test_deleted_documents_are_not_found_again(capsys, manual):
    run(capsys, "index", manual)
    _, out, _ = run(capsys, "documents", "--json")
    [document] = json.loads(out)
    assert document["title"] == "Kettle K1"
    assert run(capsys, "delete", document["doc_id"])[0] == 0
    _code, out, _err = run(capsys, "search", "descale")
    assert "Descale" not in out


def bad(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def pdf(pages: int, password: str = "") -> bytes:
    """A real PDF with the given number of pages."""
    import io

    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, encrypt=StandardEncryption(password) if password else None)
    for n in range(pages):
        canvas.drawString(72, 720, f"Page {n + 1}: rinse the filter weekly.")
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


NO_PAGES = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF"
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.pdf", b"", "empty"),
        ("not.pdf", b"just some words", "PDF"),
        ("locked.pdf", "locked", "password"),
        ("none.pdf", NO_PAGES, "page|PDF"),
        ("binary.md", bytes(range(256)) * 40, "text"),
        ("empty.md", b"", "empty"),
    ],
)
def test_a_bad_manual_is_one_clear_line_and_leaves_nothing(capsys, tmp_path, workspace, name, content, message):
    import re

    path = bad(tmp_path, name, pdf(2, "secret") if content == "locked" else content)
    code, _out, err = run(capsys, "index", path)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert name in err
    assert re.search(message, err, re.I)
    assert not (workspace / "index" / "CURRENT").exists()


def test_one_bad_file_does_not_stop_the_others(capsys, tmp_path, manual, real_embedder):
    folder = tmp_path / "manuals"
    folder.mkdir()
    (folder / "good.md").write_text(MANUAL, encoding="utf-8")
    (folder / "bad.pdf").write_bytes(b"no pdf at all")
    code, out, _ = run(capsys, "index", folder)
    assert code == 0
    assert "failed: bad.pdf" in out
    assert "3 months" in run(capsys, "ask", "how often should I descale the kettle?")[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["index", "no-such-file.pdf"], "no-such-file.pdf"),
        (["ask", "anything"], "emendo index"),
        (["ask"], "no question"),
        (["ask", "x", "--set", "answer.passage=3"], "did you mean answer.passages"),
        (["ask", "x", "--model", "gpt"], "expected one of quote"),
        (["serve", "--model", "hf:./nowhere"], "does not exist"),
        (["tune"], "none is approved|no usable correction"),
        (["tune", "--model", "quote"], "no usable correction|can be tuned"),
        (["promote"], "no adapter yet"),
        (["rollback"], "nothing to roll back"),
        (["corrections", "import", "no.jsonl"], "no.jsonl does not exist"),
        (["corrections", "approve", "seven"], "expected the number"),
        (["corrections", "approve", "²"], "expected the number"),
        (["corrections", "approve", "1" + 30 * "0"], "no correction number 1000"),
        (["ask", "--questions", "no.jsonl"], "no.jsonl"),
        (["ask", "\udcff how?"], "the question is not UTF-8 text"),  # what Python makes of a Latin-1 terminal's bytes
        (["ask", "x", "--out", "answers.jsonl"], "--out is for a file of questions"),
        (["eval", "run", "--questions", "no.jsonl"], "no.jsonl"),
    ],
)
def test_user_errors_are_one_line_with_exit_code_2(capsys, args, message):
    import re

    code, _out, err = run(capsys, *args)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert re.search(message, err), err


def test_a_password_is_not_asked_for_where_nobody_can_type_it():
    command = [sys.executable, "-m", "emendo.cli", "users", "add", "ada", "--role", "admin"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True
    )  # no terminal
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "emendo: no password was given; a script gives one with --password-stdin\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["search", "x", "-k", "0"], "argument -k: '0': expected a whole number, 1 or more"),
        (["sweep", "--trials", "-1"], "argument --trials: '-1': expected a whole number"),
        (["eval", "watch", "DIR"], "the following arguments are required: --questions"),
        (["tune", "--thumbs", "--retriever"], "argument --retriever: not allowed with argument --thumbs"),
    ],
)
def test_wrong_options_are_told_with_the_usage(capsys, args, message):
    with pytest.raises(SystemExit) as stopped:
        main(args)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a", "question": 7}, "expected an object like"),
        ({"id": "a", "question": "why?", "product": ["K1"]}, "`product` must be text"),
        ({"id": "a", "question": "why?", "history": ["before"]}, "`history` must be a list like"),
    ],
)
def test_a_bad_row_of_questions_is_named_by_its_line(capsys, manual, tmp_path, row, message):
    run(capsys, "index", manual)
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"id": "first", "question": "how?"}) + "\n" + json.dumps(row) + "\n")
    code, out, err = run(capsys, "ask", "--questions", path)
    assert (code, out) == (2, "")
    assert f"in.jsonl:2: {message}" in err


def test_a_place_that_cannot_be_written_is_told_in_one_line(capsys, manual, tmp_path, correction):
    run(capsys, "index", manual)
    (tmp_path / "in.jsonl").write_text('{"id": "a", "question": "how?"}\n')
    code, _, err = run(capsys, "search", "--questions", tmp_path / "in.jsonl", "--out", tmp_path / "none" / "out.jsonl")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "expected a file in a folder that exists" in err
    for place in (tmp_path, tmp_path / "none" / "c.jsonl"):
        code, _, err = run(capsys, "corrections", "export", place)
        assert (code, len(err.splitlines())) == (2, 1)
        assert err.startswith(f"emendo: {place}: ")
        assert "give another place" in err
    assert not list(tmp_path.glob("*.partial"))


def test_a_model_server_that_does_not_answer_is_told_in_one_line(capsys, manual):
    run(capsys, "index", manual)
    code, _, err = run(capsys, "ask", "how often do I descale?", "--model", "openai:http://127.0.0.1:9/v1#m")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "the model's server did not answer (Connection error.)" in err


@pytest.mark.parametrize(
    ("command", "told"), [("corrections", "emendo serve"), ("adapters", "emendo tune"), ("users list", "without a sign-in")]
)
def test_what_is_empty_says_how_to_begin(capsys, command, told):
    code, out, _ = run(capsys, *command.split())
    assert code == 0
    assert told in out


def test_a_workspace_that_cannot_be_made_and_a_port_that_is_none_are_told(capsys, tmp_path, manual):
    code, _, err = run(capsys, "--workspace", "/dev/null/workspace", "documents")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "give another folder with --workspace" in err
    code, _, err = run(capsys, "serve", "--port", "99999")
    assert code == 2
    assert "give another one with --port" in err


def test_a_corrections_file_with_a_bad_line_changes_nothing(capsys, tmp_path, correction):
    from sft.corrections import write_corrections

    path = tmp_path / "c.jsonl"
    write_corrections(path, [correction])
    with path.open("a") as file:
        file.write('{"question": "half a row"\n')
    code, _, err = run(capsys, "corrections", "import", path)
    assert code == 2
    assert "c.jsonl:2" in err
    assert json.loads(run(capsys, "corrections", "--json")[1]) == []


def test_thumbs_are_listed_with_what_was_said(capsys, workspace, hits):
    assert "POST /feedback" in run(capsys, "ratings")[1]
    store = Store(workspace / "emendo.db")
    answer = Answer("a1", "how often", "how often", "Every 3 months. [1]", (), hits, False, 0.9, "quote", "", "p1", "i1")
    store.save_answer(answer, store.create_conversation("kettle"))
    store.rate("a1", "ana", -1, "a step is missing")
    store.rate("gone", "ben", 1)
    _, out, _ = run(capsys, "ratings")
    first, second = [line.split("│") for line in out.splitlines() if "│" in line]
    assert [cell.strip() for cell in first[1:]] == ["ana", "down", "how often", "Every 3 months. [1]", "a step is missing"]
    assert [cell.strip() for cell in second[1:4]] == ["ben", "up", "(deleted)"]
    assert json.loads(run(capsys, "ratings", "--json")[1])[0]["answer"]["question"] == "how often"


def test_corrections_are_imported_listed_judged_and_exported(capsys, tmp_path, correction):
    from sft.corrections import read_corrections, write_corrections

    path = tmp_path / "c.jsonl"
    write_corrections(path, [correction])
    assert run(capsys, "corrections", "import", path)[0] == 0
    assert "how often do i descale" in run(capsys, "corrections")[1]
    assert run(capsys, "corrections", "reject", "1")[0] == 0
    run(capsys, "corrections", "export", tmp_path / "out.jsonl")
    [row] = read_corrections(tmp_path / "out.jsonl")
    assert (row.correction_id, row.status) == ("k1", "rejected")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("manifest.json", b"{"),
        ("manifest.json", b"[1]"),
        ("manifest.json", b'{"format_version": 1, "new": 2}'),
        ("CURRENT", b"\xff"),
    ],
)
def test_a_damaged_index_is_told_in_one_line(capsys, manual, workspace, file, content):
    run(capsys, "index", manual)
    [path] = (workspace / "index").rglob(file)
    path.write_bytes(content)
    code, _, err = run(capsys, "search", "descale")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "damaged" in err


def test_a_database_server_that_is_not_there_is_told_without_its_password(capsys, monkeypatch):
    monkeypatch.setenv("EMENDO_DATABASE", "postgresql://ana:secret@127.0.0.1:9/emendo")
    code, _, err = run(capsys, "corrections")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "check EMENDO_DATABASE" in err
    assert "secret" not in err


@pytest.mark.parametrize("after", [0.3, 0.8, 1.5, 2.5])
def test_kill_9_while_indexing_loses_nothing(capsys, tmp_path, manual, workspace, after):
    """Killed at any moment, the index is the old one or the new one, and the next run finishes it."""
    run(capsys, "index", manual)
    folder = tmp_path / "more"
    folder.mkdir()
    for n in range(40):
        (folder / f"m{n}.md").write_text(MANUAL.replace("K1", f"K{n + 2}").replace("3 months", f"{n + 4} months"))
    command = [sys.executable, "-m", "emendo.cli", "index", str(folder)]
    child = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    time.sleep(after)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert "Descale the kettle" in run(capsys, "search", "descale Kettle K1", "--product", "Kettle K1")[1]
    assert run(capsys, "index", folder)[0] == 0
    assert len(json.loads(run(capsys, "documents", "--json")[1])) == 41
    snapshots = [path for path in (workspace / "index").iterdir() if path.is_dir() and (path / "manifest.json").exists()]
    assert len(snapshots) == 1, "nothing half-written is left"


def test_the_worked_example_to_the_digit(capsys):
    _, out, _ = run(capsys, "eval", "ztest", "41", "39", "42", "38", "40", "--mean", "37", "--sd", "3.2")
    for figure in (
        "2.0963",
        "2.10",
        "1.6449",
        "0.01803",
        "0.0179",
        "[37.20, 42.80]",
        "1.5811",
        "4.2426",
        "0.00662",
        "0.03125",
        "67%",
    ):
        assert figure in out
    assert "8 or fewer trials" in out
