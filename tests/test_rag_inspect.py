"""`emendo inspect`: the chunks of a document, and what each step of a search made of a question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emendo.cli import main

MANUAL = """# Kettle K1

## Descaling

Descale every 3 months with citric acid.

## Errors

E-04: the lid is open.
"""
TOASTER = "# Toaster T2\n\n## Crumbs\n\nEmpty the crumb tray every week.\n"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    (tmp_path / "manuals").mkdir()
    (tmp_path / "manuals" / "kettle.md").write_text(MANUAL)
    (tmp_path / "manuals" / "toaster.md").write_text(TOASTER)
    assert main(["index", str(tmp_path / "manuals")]) == 0
    capsys.readouterr()

    def run(*args: str) -> tuple[int, str, str]:
        code = main(["inspect", *args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_chunks_of_a_document_in_reading_order(ask) -> None:
    for name in ("kettle", "Kettle K1", "kettle.md"):
        code, out, _ = ask(name, "--json")
        rows = json.loads(out)
        assert code == 0 and [row["chunk"]["position"] for row in rows] == list(range(len(rows)))
    last = rows[-1]
    assert last["chunk"]["section"][-1] == "Errors" and last["chunk"]["text"].startswith("E-04")
    assert 0 < last["header_tokens"] < last["tokens"]
    _, out, _ = ask("kettle")
    assert "Descaling" in out and f"{len(rows)} chunks" in out


def test_a_search_is_traced_from_words_to_rank(ask) -> None:
    code, out, _ = ask("--query", "Descale the kettle k1 with citric acid?", "--json")
    trace = json.loads(out)
    assert code == 0 and trace["searched"] == ["kettle"], "the question names the product"
    assert "descale" in trace["terms"] and trace["rareness"]["descal"] > 0
    best = trace["ranked"][0]
    assert "descal" in best["found"] and "citric acid" in best["hit"]["chunk"]["text"]
    assert {"dense_rank", "lexical_rank", "fused"} <= set(best["hit"]["stages"])
    steps = trace["seconds"]
    assert {"embedding", "search by meaning", "search by words", "total"} <= set(steps)
    assert sum(steps.values()) == pytest.approx(2 * steps["total"])


def test_a_traced_search_finds_what_search_finds(ask, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ask("--query", "crumb tray", "-k", "3", "--json")
    assert main(["search", "crumb tray", "-k", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["hit"]["chunk"]["chunk_id"] for row in json.loads(out)["ranked"]] == [row["chunk_id"] for row in found]
    _, out, _ = ask("--query", "crumb tray")
    assert "Toaster T2" in out and "confidence" in out and "ms" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["kettel"], "did you mean kettle"),
        ([], "give a document or a question"),
        (["kettle", "--query", "x"], "give a document or a question"),
        (["--query", "x", "--product", "mixer"], "no product 'mixer'"),
    ],
)
def test_bad_input_is_told_with_its_cure(ask, args: list[str], message: str) -> None:
    code, _, err = ask(*args)
    assert code == 2 and message in err
