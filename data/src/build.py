"""Make the shipped sample data from its sources: rendered manuals, questions.jsonl, corrections.jsonl.

    python data/src/build.py

The authors' rows hold what a person knows: the question, the right answer, the sentence of the manual that proves it. This
script adds what the product records: the passages our own retriever finds, and the answer the bundled model gives from them.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from emendo.chat_models import load_chat_model
from emendo.records import Correction, UserError, to_json
from rag.answer import AnswerSettings, to_langchain
from rag.citations import drop_unknown_marks
from rag.embedder import load_embedder
from rag.index import open_index
from rag.ingest import ingest
from rag.prompt import REFUSAL, build_messages
from rag.retrieve import Retriever
from sft.corrections import read_corrections

SOURCE = Path(__file__).resolve().parent
DATA = SOURCE.parent
PRODUCTS = {  # slug of the source rows -> shipped manual, product
    "espresso": ("corvella_e20.pdf", "Corvella E20 espresso machine"),
    "vacuum": ("pavo_r7.docx", "Pavo R7 robot vacuum"),
    "router": ("nordhaven_ax3.md", "Nordhaven AX3 home router"),
}
SERVED = AnswerSettings(passages=2, focus_units=3, verbatim=True)  # as the bundled model is served
RENDERED = {"render_pdf.py": ("espresso.md", "corvella_e20.pdf"), "render_docx.py": ("vacuum.md", "pavo_r7.docx")}


def main() -> None:
    for script, (source, target) in RENDERED.items():
        subprocess.run([sys.executable, SOURCE / script, SOURCE / source, DATA / "manuals" / target], check=True)
    rows = [line for slug in PRODUCTS for line in _lines(SOURCE / f"questions_{slug}.jsonl")]
    (DATA / "questions.jsonl").write_text("".join(line + "\n" for line in rows), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        embedder = load_embedder()
        for file, product in PRODUCTS.values():
            ingest(Path(folder), DATA / "manuals" / file, embedder, product=product)
        retriever = Retriever(open_index(Path(folder), embedder), embedder)
        corrections = [c for slug in PRODUCTS for c in complete(SOURCE / f"corrections_{slug}.jsonl", retriever)]
        corrections = with_rejected_answers(corrections, retriever)
    (DATA / "corrections.jsonl").write_text("".join(to_json(c) + "\n" for c in corrections), encoding="utf-8")
    answered = [c for c in corrections if not c.should_abstain]
    first = sum(c.hits[0].chunk.chunk_id in c.evidence for c in answered)
    print(f"{len(rows)} questions; {len(corrections)} corrections, evidence first in {first} of {len(answered)}")


def complete(path: Path, retriever: Retriever) -> list[Correction]:
    """Each row with the passages the retriever finds for it; rows whose quote no passage holds stop the build."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        single = Path(folder) / path.name
        for line in _lines(path):
            single.write_text(line, encoding="utf-8")
            try:
                [correction] = read_corrections(single, retriever, SERVED)
            except UserError as error:
                sys.exit(f"{path.name} {json.loads(line)['id']}: {error}")
            found.append(dataclasses.replace(correction, author="sample", at="2026-01-15T09:00:00+00:00"))
    return found


def with_rejected_answers(corrections: list[Correction], retriever: Retriever) -> list[Correction]:
    """The bundled model's own answers from the recorded passages become the rejected ones."""
    model = load_chat_model("hf:bundled", verbatim=True, refusal=REFUSAL)
    prompts = []
    for c in corrections:
        scores = [found.score for found in retriever.evidence(c.question, c.hits)]
        prompts.append(to_langchain(build_messages(c.question, [h.chunk for h in c.hits]), c.question, c.hits, scores))
    texts = [str(message.content).strip() for message in model.batch(prompts)]
    return [
        dataclasses.replace(c, rejected=drop_unknown_marks(text, len(c.hits))) for c, text in zip(corrections, texts, strict=True)
    ]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    main()
