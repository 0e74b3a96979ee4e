"""`emendo tune --retriever`: what is learned, what is held out, and that a worse embedder never serves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from conftest import make_chunk

from emendo.cli import main
from emendo.commands.retrieving import _judge
from emendo.records import Correction, Hit, UserError
from rag.embedder import load_embedder
from rag.index import open_index
from rag.ingest import ingest
from rag.retrieve import Retriever
from sft.retriever import Judgement, Pair, RetrieverSettings, build_pairs, tune_retriever

SMALL = RetrieverSettings(epochs=1, batch_size=4, max_tokens=32)


def corrected(number: int, correction: Correction) -> Correction:
    chunk = make_chunk(f"c{number}", f"Passage {number} tells about part {number}.", ("Parts", f"Part {number}"))
    return dataclasses.replace(
        correction,
        correction_id=str(number),
        question=f"what about part {number}",
        hits=(Hit(chunk, 1.0, 1), Hit(make_chunk("other", "Another."), 0.5, 2)),
        evidence=(chunk.chunk_id,),
    )


CHUNKS = [make_chunk(f"h{n}", f"Text {n} about the {n}th part of it all.", ("Parts", f"Part {n}")) for n in range(40)]


def test_a_section_is_learned_or_held_out_never_both(correction: Correction) -> None:
    copies = [dataclasses.replace(chunk, chunk_id=f"copy{chunk.chunk_id}", doc_id="kettle-2") for chunk in CHUNKS]
    rows = [corrected(n, correction) for n in range(40)]
    pairs = build_pairs([*CHUNKS, *copies], rows, RetrieverSettings(held_out=0.25))
    learned, judged = ({pair.group for pair in part} for part in (pairs.train, pairs.held_out))
    assert not learned & judged and len(judged) == 10
    assert {pair.kind for pair in pairs.held_out} == {"heading"}, "ten questions are too few to judge on"
    heading = next(pair for pair in pairs.train if pair.kind == "heading")
    assert heading.query == f"Parts {heading.group.title()}" and "Kettle K1" not in heading.passage
    question = next(pair for pair in pairs.train if pair.kind == "question")
    assert question.passage.startswith("Parts > Part"), "a question is paired with what is embedded for its evidence"
    many = build_pairs(CHUNKS, rows, RetrieverSettings(held_out=0.6))
    assert {pair.kind for pair in many.held_out} == {"question"}


def test_refusals_and_unapproved_corrections_teach_nothing(correction: Correction) -> None:
    rows = [
        dataclasses.replace(corrected(1, correction), should_abstain=True),
        dataclasses.replace(corrected(2, correction), status="open"),
    ]
    assert {pair.kind for pair in build_pairs(CHUNKS, rows, RetrieverSettings()).train} == {"heading"}
    with pytest.raises(UserError, match=r"0 pairs to learn from.*approve corrections"):
        build_pairs([], [], RetrieverSettings())


def test_weights_are_not_kept_where_the_judge_says_not_better(tmp_path: Path) -> None:
    pairs = build_pairs(CHUNKS[:10], [], SMALL)
    seen = []

    def judge(before, after, held_out):
        text = "How do I descale the kettle?"
        seen.append(float((before.encode([text]) * after.encode([text])).sum()))
        return Judgement("test", len(held_out), 0.5, 0.6, 0.2, False)

    card = tune_retriever(pairs, [], tmp_path, judge, dataclasses.replace(SMALL, learning_rate=1e-3), lambda *report: None)
    assert seen[0] < 0.9999, "training changed the embedder"
    written = json.loads((tmp_path / card.embedder_id / "card.json").read_text())
    assert written["kept"] is False and written["pairs"]["heading"] == len(pairs.train)
    assert [path.name for path in tmp_path.iterdir()] == [card.embedder_id], "nothing half made is left"
    assert not (tmp_path / card.embedder_id / "model.safetensors").exists()


def test_an_adapted_embedder_serves_until_it_is_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EMENDO_EMBEDDER", raising=False)
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "workspace"))
    sections = "".join(f"## Part {n}\n\nThe {n}th part is cleaned with tool {n} only.\n\n" for n in range(12))
    (tmp_path / "kettle.md").write_text(f"# Kettle K1\n\n{sections}")
    assert main(["index", str(tmp_path / "kettle.md")]) == 0
    (tmp_path / "workspace" / "emendo.toml").write_text("# mine\n[retrieve]\ncandidates = 30\n")
    judged = Judgement("reciprocal rank", 5, 0.5, 0.6, 0.01, True)
    monkeypatch.setattr("emendo.commands.retrieving._judge", lambda *args: judged)  # twelve short sections would show nothing
    tune = ["tune", "--retriever", "--set", "retriever.epochs=1", "--set", "retriever.batch_size=4"]
    assert main(tune) == 0
    index = open_index(tmp_path / "workspace" / "index", None)
    assert index.manifest.embedder_id.startswith("adapted-")
    settings = (tmp_path / "workspace" / "emendo.toml").read_text()
    assert settings.startswith("# mine") and "candidates = 30" in settings and "adapted-" in settings
    assert main(["search", "part 3"]) == 0 and "Part 3" in capsys.readouterr().out
    assert main(["rollback", "--retriever"]) == 0 and main(["search", "part 3"]) == 0
    assert open_index(tmp_path / "workspace" / "index", None).manifest.embedder_id.startswith("all-MiniLM")
    assert main(["rollback", "--retriever"]) == 2 and "stock embedder serves" in capsys.readouterr().err


def test_the_hash_embedder_cannot_be_adapted(tmp_path: Path) -> None:
    pairs = build_pairs(CHUNKS, [], SMALL)
    with pytest.raises(UserError, match="no weights to adapt"):
        tune_retriever(pairs, [], tmp_path, lambda *a: None, SMALL, lambda *a: None, load_embedder("hash"))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("kind", ["heading", "question"])
def test_the_same_embedder_is_not_judged_better(tmp_path: Path, kind: str) -> None:
    embedder = load_embedder("hash")
    (tmp_path / "kettle.md").write_text("# Kettle K1\n\n## Care\n\nUse citric acid.\n\n## Power\n\nIt draws 2,200 W.\n")
    ingest(tmp_path / "index", tmp_path / "kettle.md", embedder)
    index = open_index(tmp_path / "index", embedder)
    care, power = (c for c in index.chunks("kettle") if c.section[-1] in ("Care", "Power"))
    held_out = [Pair("citric acid", care.chunk_id, "", kind, "care"), Pair("how many W", power.chunk_id, "", kind, "power")]
    judged = _judge(Retriever(index, embedder), embedder, embedder, held_out, lambda *report: None)
    assert not judged.better and judged.queries == 2 and judged.before == judged.after > 0.5
