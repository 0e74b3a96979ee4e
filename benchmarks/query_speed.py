"""Time of one search at a given size: `python -m benchmarks.query_speed --chunks 10000 [--work DIR]`.

Passages are made of words with the frequencies of real text (Zipf) and have random unit vectors; questions are embedded by the
real embedder. Measured per question, without re-ranking: our whole search (embedding, both sides with a product filter and
without, fusion) and the usual recipe on the same vectors (sentence-transformers, faiss.IndexFlatIP, the texts in memory). Both
sides are asked in turn, so that other load on the machine meets them alike, and the processor's time is shown beside the clock's:
with OMP_NUM_THREADS=1 they are the same on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from emendo.records import Chunk, Document
from rag.embedder import Embedder, load_embedder
from rag.index import Index, Origin, SnapshotBuilder, open_index
from rag.inspect import trace_search
from rag.retrieve import Retriever, RetrieveSettings
from rag.snapshot import new_snapshot, writer_lock

_PER_DOCUMENT = 500
_WORDS = 60  # of one passage
_VOCABULARY = 30_000


def build(directory: Path, count: int, embedder: Embedder) -> None:
    """An index of `count` passages; nothing is embedded."""
    rng, generator = random.Random(0), np.random.default_rng(0)
    words = _vocabulary()
    weights = list(accumulate(1 / (rank + 10) for rank in range(len(words))))
    with writer_lock(directory), new_snapshot(directory) as folder:
        builder = SnapshotBuilder(folder, embedder, None)
        for start in range(0, count, _PER_DOCUMENT):
            doc = f"product-{start // _PER_DOCUMENT}"
            chunks = []
            for n in range(min(_PER_DOCUMENT, count - start)):
                text = " ".join(rng.choices(words, cum_weights=weights, k=_WORDS))
                heading = " ".join(text.split()[:3])
                chunks.append(Chunk(f"{doc}-{n}", doc, doc, doc, (heading,), text, f"{doc} > {heading}", position=n))
            vectors = generator.normal(size=(len(chunks), embedder.dimension)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            builder.add(Origin(Document(doc, doc, doc, doc, 0, doc, "made"), doc, "made"), chunks, vectors)
        builder.publish({})


def questions(count: int) -> list[str]:
    """Seven words each, drawn as a person would: rare ones and common ones."""
    rng, words = random.Random(1), _vocabulary()
    return [" ".join(["how", "do", "I", *rng.sample(words[:200], 2), *rng.sample(words[200:5000], 3)]) for _ in range(count)]


def recipe_search(index: Index, count: int) -> Callable[[str], list[str]]:
    """The recipe on the same passages and vectors."""
    import faiss
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(load_embedder().folder), device="cpu", local_files_only=True)  # type: ignore[attr-defined]
    flat = faiss.IndexFlatIP(index.manifest.dimension)
    generator = np.random.default_rng(0)
    for start in range(0, count, _PER_DOCUMENT):
        vectors = generator.normal(size=(min(_PER_DOCUMENT, count - start), flat.d)).astype(np.float32)
        flat.add(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    texts = [chunk.text for document in index.documents() for chunk in index.chunks(document.doc_id)]

    def search(question: str) -> list[str]:
        vector = model.encode([question], normalize_embeddings=True, show_progress_bar=False)
        return [texts[row] for row in flat.search(vector, 8)[1][0]]

    return search


def milliseconds(search: Callable[[str], Any], question: str) -> tuple[float, float]:
    """By the clock, and of the processor."""
    start, spent = time.perf_counter(), time.process_time()
    search(question)
    return 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--work", type=Path, default=Path("workspace/query-speed"), help="the index is made here and kept")
    args = parser.parse_args()
    directory, embedder = args.work / str(args.chunks), load_embedder()
    if not (directory / "CURRENT").exists():
        build(directory, args.chunks, embedder)
    index = open_index(directory, embedder)
    plain = RetrieveSettings(sentence_weight=0.0, words_weight=0.0)  # re-ranking is not measured
    retriever = Retriever(index, embedder, plain)
    searches: dict[str, Callable[[str], Any]] = {
        "recipe": recipe_search(index, args.chunks),
        "emendo": retriever.search,
        "emendo, one product": lambda question: retriever.search(question, product="product-1"),
    }
    asked = questions(args.questions + 3)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, question in enumerate(asked):
        for name, search in searches.items():
            pair = milliseconds(search, question)
            if number >= 3:  # the first ones load and warm
                found[name].append(pair)
    for name, pairs in found.items():
        told = (
            f"p50 {statistics.median(values):7.1f} ms  p90 {_quantile(values, 0.9):7.1f} ms"
            for values in zip(*pairs, strict=True)
        )
        print(f"{name:20} " + "   processor: ".join(told))
    steps: dict[str, list[float]] = defaultdict(list)
    for question in asked[3:13]:
        for step, took in trace_search(index, embedder, plain, question).seconds.items():
            steps[step].append(1000 * took)
    print(json.dumps({step: round(statistics.median(values), 1) for step, values in steps.items()}))


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _vocabulary() -> list[str]:
    """Words of two to four syllables, the same every time."""
    rng = random.Random(2)
    syllables = [consonant + vowel for consonant in "bcdfghklmnprstvz" for vowel in "aeiou"]
    made: dict[str, None] = {}
    while len(made) < _VOCABULARY:
        made["".join(rng.choices(syllables, k=rng.randint(2, 4)))] = None
    return list(made)


if __name__ == "__main__":
    main()
