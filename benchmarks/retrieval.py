"""Retrieval on the shared manuals: `python -m benchmarks.retrieval --work DIR [--sets tv s10 pdf ...]`.

Makes DIR/<name>/index for each manual (later runs only search), asks its questions with each variant of the search, writes the
hits to DIR/<set>-<variant>.jsonl and prints what the scorer says of them. docs/retrieval.md has the table made from it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from emendo.records import Chunk
from rag.embedder import DEFAULT, Embedder, load_embedder
from rag.index import open_index
from rag.ingest import ingest
from rag.retrieve import Retriever, RetrieveSettings

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
SCORER = SHARED / "tools" / "score_retrieval.py"
EMQAP, PDF = SHARED / "data" / "emqap", SHARED / "data" / "pdf_manuals"
_PLAIN = RetrieveSettings(
    coverage_weight=0.0,
    adjacency_weight=0.0,
    label_weight=0.0,
    code_weight=0.0,
    length_weight=0.0,
    sentence_weight=0.0,
    words_weight=0.0,
    section_characters=0,
)
VARIANTS = {
    "dense": replace(_PLAIN, use_lexical=False),
    "lexical": replace(_PLAIN, use_dense=False),
    "both": _PLAIN,
    "+ text features": RetrieveSettings(sentence_weight=0.0, words_weight=0.0, section_characters=0),
    "+ best sentence": RetrieveSettings(section_characters=0),
    "+ section text": RetrieveSettings(),
}
TV, S10 = ("samsung_tv_smart_remote", "Samsung TV"), ("galaxy_s10", "Galaxy S10")


@dataclass(frozen=True)
class Asked:
    """One question as it is put to one index."""

    index: str
    row: dict
    question: str
    product: str = ""
    right: str = ""  # only hits of this document count
    earlier: str = ""  # asked before it in the conversation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--embedder", default=DEFAULT)
    args = parser.parse_args()
    embedder = load_embedder(args.embedder)
    for name in args.sets:
        asked = list(SETS[name]())
        for index in dict.fromkeys(a.index for a in asked):
            make_index(args.work, index, embedder)
        for variant in args.variants:
            print(f"{name:28} {variant:16} {run(args.work, name, variant, asked, embedder)}", flush=True)


def make_index(work: Path, name: str, embedder: Embedder) -> None:
    """Index what `name` stands for: a manual's folder of pdf_manuals, a file of emqap, all manuals, or the look-alikes."""
    source = work / name / "manuals"
    if source.exists():
        return
    source.mkdir(parents=True)
    if name == "look-alikes":
        for rows in sorted((EMQAP / "distractors").glob("*.jsonl")):
            (source / f"{rows.stem}.md").write_text(as_markdown(rows), encoding="utf-8")
    files = {"look-alikes": [TV[0] + ".md", S10[0] + ".md"], "all": []}.get(name, [name])
    for file in files:
        if (EMQAP / "docs" / file).is_file():
            shutil.copy(EMQAP / "docs" / file, source)
    for folder in manual_folders():
        if name in ("all", folder.name):
            manual = manual_of(folder)
            copy = shutil.copytree if manual.is_dir() else shutil.copy
            (source / folder.name).mkdir()
            copy(manual, source / folder.name / manual.name)
    print(f"{name}: {ingest(work / name / 'index', source, embedder).chunks} passages", flush=True)


def manual_folders() -> list[Path]:
    return sorted(folder for folder in PDF.iterdir() if folder.is_dir())


def manual_of(folder: Path) -> Path:
    return next(path for name in ("manual.pdf", "manual.docx", "site") if (path := folder / name).exists())


def as_markdown(rows: Path) -> str:
    """A look-alike manual's sections as one Markdown file."""
    parts = [f"# {rows.stem.replace('_', ' ').title()} user manual"]
    before: list[str] = []
    for row in read(rows):
        path = row["section"].split(" > ")
        parts += [f"{'#' * (n + 2)} {heading}" for n, heading in enumerate(path) if before[: n + 1] != path[: n + 1]]
        parts.append(row["text"])
        before = path
    return "\n\n".join(parts) + "\n"


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def emqap(index: str, manual: tuple[str, str], way: str = "") -> Iterator[Asked]:
    """Questions on one of the two manuals; only hits of it count. `way`: the product is chosen, named in the question or in an
    earlier one ("named before"), the other product was ("another before"), or unscoped; "same text": unscoped, and any manual
    that says the same counts; "": the manual alone.
    """
    doc_id, name = manual
    right = doc_id.replace("_", "-")
    before = {"named before": name, "another before": next(other for _, other in (TV, S10) if other != name)}
    for row in [row for row in read(EMQAP / "qa.jsonl") if row["doc_id"] == doc_id]:
        yield Asked(
            index,
            row,
            f"{row['question'].rstrip('?. ')} on the {name}?" if way == "named" else row["question"],
            product=right if way == "chosen" else "",
            right="" if way in ("", "same text") else right,
            earlier=f"Is there a manual of the {before[way]}?" if way in before else "",
        )


def pdf(index: str = "", chosen: bool = False) -> Iterator[Asked]:
    """Answerable questions on the real manuals, each in its own index or all in one with the manual chosen by its folder."""
    for folder in manual_folders():
        for row in read(folder / "qa.jsonl"):
            if row.get("answerable", True):
                yield Asked(index or folder.name, row, row["question"], folder.name if chosen else "")


SETS: dict[str, Callable[[], Iterator[Asked]]] = {
    "tv": partial(emqap, TV[0] + ".md", TV),
    "tv, page-broken": partial(emqap, TV[0] + ".paged.txt", TV),
    "s10": partial(emqap, S10[0] + ".md", S10),
    "pdf": pdf,
    "pdf, one index": partial(pdf, "all", chosen=True),
    **{
        f"{label} among look-alikes, {way}": partial(emqap, "look-alikes", manual, way)
        for label, manual in (("s10", S10), ("tv", TV))
        for way in ("unscoped", "same text", "named", "chosen", "named before", "another before")
    },
}


def run(work: Path, name: str, variant: str, asked: Sequence[Asked], embedder: Embedder) -> str:
    """Ask, write the hits, and return the scorer's line with the median time of a search."""
    retrievers: dict[str, Retriever] = {}
    seconds, hits = [], []
    for a in asked:
        if a.index not in retrievers:
            retrievers[a.index] = Retriever(open_index(work / a.index / "index", embedder), embedder, VARIANTS[variant])
        retriever, start = retrievers[a.index], time.perf_counter()
        product = a.product or retriever.product_of_conversation(a.question, [a.earlier])
        found = retriever.passages(a.question, k=10, product=product)
        seconds.append(time.perf_counter() - start)
        texts = [(h.chunk, h.chunk.text if a.right in ("", h.chunk.doc_id) else "") for h in found]
        hits.append({"id": a.row["id"], "hits": [{"text": text, "pages": pages(chunk)} for chunk, text in texts]})
    stem = f"{name}-{variant}".replace(" ", "_").replace(",", "")
    questions, out = work / f"{stem}.questions.jsonl", work / f"{stem}.jsonl"
    for path, rows in ((questions, [a.row | {"doc_id": "all"} for a in asked]), (out, hits)):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    scored = subprocess.run([sys.executable, str(SCORER), str(questions), str(out)], capture_output=True, text=True, check=True)
    return f"{scored.stdout.strip().removeprefix('all: ')} p50={np.median(seconds) * 1000:.0f} ms"


def pages(chunk: Chunk) -> list[int] | list[str]:
    """Page numbers, or the file within the manual's folder where the format has none."""
    return list(chunk.pages) or [re.sub(r"^\w+/(?:site/)?", "", chunk.source)]


if __name__ == "__main__":
    main()
