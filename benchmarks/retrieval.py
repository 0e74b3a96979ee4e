"""Retrieval on a question file: `python -m benchmarks.retrieval QUESTIONS.jsonl --index DIR [--product NAME] [--out DIR]`.

Runs each variant of the search, writes DIR/<variant>.jsonl (rows of id and hits) and prints what the scorer says of it.
Question rows hold `id`, `question` and gold evidence as the scorer reads it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rag.embedder import Embedder, load_embedder
from rag.index import open_index
from rag.retrieve import Retriever, RetrieveSettings

SCORER = Path(__file__).resolve().parent.parent.parent / "shared" / "tools" / "score_retrieval.py"
_PLAIN = RetrieveSettings(coverage_weight=0.0, adjacency_weight=0.0, label_weight=0.0)
VARIANTS = {
    "dense": replace(_PLAIN, use_lexical=False),
    "lexical": replace(_PLAIN, use_dense=False),
    "both": _PLAIN,
    "both + text features": RetrieveSettings(),
}


class RememberingEmbedder(Embedder):
    """Encodes every question once for all variants."""

    def __init__(self, embedder: Embedder, texts: Sequence[str]):
        self.id, self.dimension, self.max_tokens = embedder.id, embedder.dimension, embedder.max_tokens
        self._embedder = embedder
        self._vectors = dict(zip(texts, embedder.encode(texts), strict=True))

    def count_tokens(self, text: str) -> int:
        return self._embedder.count_tokens(text)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._vectors[text] for text in texts])


def run_variant(retriever: Retriever, questions: Sequence[dict], product: str, out: Path) -> float:
    """Write the hits of every question to `out`; median seconds of one search."""
    seconds = []
    with open(out, "w", encoding="utf-8") as file:
        for row in questions:
            start = time.perf_counter()
            hits = retriever.search(row["question"], k=10, product=product or row.get("product", ""))
            seconds.append(time.perf_counter() - start)
            found = [{"text": h.chunk.text, "pages": h.chunk.pages, "doc_id": h.chunk.doc_id, "stages": h.stages} for h in hits]
            file.write(json.dumps({"id": row["id"], "hits": found}) + "\n")
    return float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--product", default="")
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--manual", default="", help="only the questions whose doc_id this is")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.questions.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = [row for row in rows if row.get("answerable", True) and args.manual in ("", row.get("doc_id"))]
    out = args.out or Path(tempfile.mkdtemp(prefix="retrieval-"))
    out.mkdir(parents=True, exist_ok=True)
    asked = out / "questions.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plain = load_embedder(args.embedder)
    index = open_index(args.index, plain)
    embedder = RememberingEmbedder(plain, [row["question"] for row in rows])
    for name, settings in VARIANTS.items():
        file = out / f"{name.replace(' ', '_')}.jsonl"
        seconds = run_variant(Retriever(index, embedder, settings), rows, args.product, file)
        scored = subprocess.run([sys.executable, str(SCORER), str(asked), str(file)], capture_output=True, text=True, check=True)
        print(f"{name:22} {scored.stdout.strip()}  p50={seconds * 1000:.0f} ms without the embedder", flush=True)


if __name__ == "__main__":
    main()
