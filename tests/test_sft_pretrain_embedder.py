"""Customers' questions become training rows by their quotes, and training draws questions to what answers them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from emendo.records import UserError
from rag.embedder import SentenceEmbedder, load_embedder
from sft.manual_questions import AskedManual, asked_manuals, lay_out
from sft.pretrain_embedder import EmbedderTraining, Trainer, batches, rows_of, save

PAGE = "<html><head><title>Lumo lamp</title></head><body><h1>Lumo lamp</h1>{}</body></html>"
CARE = "<h2>Care</h2><p>Wipe the shade with a dry cloth. Never use water.</p><h2>Battery</h2><p>A charge lasts 40 hours.</p>"
LIGHT = (
    "<h2>Brightness</h2><p>Turn the ring to dim the light. It remembers the last setting.</p>"
    "<h2>Timer</h2><p>Hold the ring for an hour's timer.</p>"
)
ANSWERED = (
    ("How do I get dust off it?", "care.html", "wipe the shade with a dry cloth"),
    ("It is too bright at night", "en/light.html", "Turn the ring to dim the light."),
    ("How often must I plug it in?", "care.html", "A charge lasts 40 hours."),
    ("Switch off by itself?", "en/light.html", "Hold the ring for an hour's timer."),
    ("Where is it made?", "care.html", "a sentence that is not there"),
)
ASKED = [
    *({"question": asked, "answerable": True, "quotes": [{"page": page, "text": text}]} for asked, page, text in ANSWERED),
    {"question": "Does it play music?", "answerable": False},
]
TABLE = """
[lumo]
split = "train"
package = "lumo-doc"
version = "1"
path = "usr/share/doc/lumo"
files = "**/*.html"
licence = "MIT"
"""


@pytest.fixture
def manual(tmp_path: Path) -> AskedManual:
    """The lamp's manual as an unpacked package, and its questions."""
    folder = tmp_path / "work" / "packages" / "lumo-doc" / "usr" / "share" / "doc" / "lumo"
    (folder / "en").mkdir(parents=True)
    (folder / "care.html").write_text(PAGE.format(CARE), encoding="utf-8")
    (folder / "en" / "light.html").write_text(PAGE.format(LIGHT), encoding="utf-8")
    (folder / "picture.png").write_bytes(b"no manual")
    questions = tmp_path / "questions"
    questions.mkdir()
    (questions / "manuals.toml").write_text(TABLE, encoding="utf-8")
    (questions / "lumo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ASKED), encoding="utf-8")
    [found] = asked_manuals("train", tmp_path / "work", load_embedder("minilm"), questions)
    assert list(asked_manuals("dev", tmp_path / "work", load_embedder("minilm"), questions)) == []
    return found


def test_a_question_gets_the_passage_and_the_sentence_of_its_quote(manual: AskedManual) -> None:
    found = {asked.question: (asked.chunk.section[-1], asked.unit) for asked in manual.asked}
    assert found == {
        "How do I get dust off it?": ("Care", "Wipe the shade with a dry cloth."),
        "It is too bright at night": ("Brightness", "Turn the ring to dim the light."),
        "How often must I plug it in?": ("Battery", "A charge lasts 40 hours."),
        "Switch off by itself?": ("Timer", "Hold the ring for an hour's timer."),
    }


def test_a_package_without_the_manual_is_named(tmp_path: Path) -> None:
    (tmp_path / "packages" / "lumo-doc").mkdir(parents=True)
    with pytest.raises(UserError, match=r"lumo: .* holds no manual"):
        lay_out("lumo", {"package": "lumo-doc", "version": "1", "path": "usr/share/doc/lumo"}, [], tmp_path)


def test_training_draws_questions_to_their_answers(manual: AskedManual, tmp_path: Path) -> None:
    stock = load_embedder("minilm")
    assert isinstance(stock, SentenceEmbedder)
    rows = rows_of(manual, stock, found=3)
    assert all(row.passage not in row.wrong_passages and row.unit not in row.wrong_units for row in rows)
    settings = dataclasses.replace(EmbedderTraining(), manuals=1, rank=4)
    trainer = Trainer(stock, settings, steps=8)
    [batch] = batches({"lumo": rows}, settings, trainer.rng)
    losses = [sum(trainer.step(number, batch)) for number in range(8)]
    assert losses[-1] < losses[0] / 2
    save(trainer.model, tmp_path / "adapter")
    tuned = SentenceEmbedder(stock.folder, "tuned", "0" * 12, tmp_path / "adapter")
    question, answer, other = tuned.encode([rows[1].question, rows[1].unit, rows[0].unit])
    before = stock.encode([rows[1].question, rows[1].unit, rows[0].unit])
    assert question @ answer - question @ other > before[0] @ before[1] - before[0] @ before[2]
