"""Fit the coefficients of rag/confidence.py: `python -m benchmarks.fit_confidence --work DIR`.

Answerable rows are the development questions asked of their own manual. Unanswerable rows are questions about a car asked of a
TV's and a phone's manual (offscope), near-misses whose passage was taken away or is beside the point (clapnq, pdf_manuals), and
each PDF manual's questions asked of another one. Every collection counts the same, both labels of it count the same; the table
shows each collection scored by coefficients fitted without it. DIR keeps the indexes for the next run.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from emendo.records import content_id
from rag.confidence import FEATURES, confidence_features
from rag.embedder import Embedder, load_embedder
from rag.fusion import question_terms
from rag.index import open_index
from rag.ingest import ingest
from rag.retrieve import Retriever

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
RIDGE = 2e-4  # keeps a feature that separates perfectly from growing without bound


@dataclass(frozen=True)
class Rows:
    """Features, shape (n, features); whether the question has an answer, shape (n,); and the share each row counts."""

    features: np.ndarray
    answerable: np.ndarray
    weights: np.ndarray


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def collections(work: Path) -> dict[str, tuple[Path, list[tuple[str, bool]]]]:
    """Name -> what to index, and (question, has an answer there)."""
    found: dict[str, tuple[Path, list[tuple[str, bool]]]] = {}
    emqap, offscope = read(DATA / "emqap" / "qa.jsonl"), read(DATA / "offscope" / "qa.jsonl")
    for doc_id in ("samsung_tv_smart_remote", "galaxy_s10"):
        asked = [(row["question"], True) for row in emqap if row["doc_id"] == doc_id]
        found[doc_id] = (DATA / "emqap" / "docs" / f"{doc_id}.md", asked + [(row["question"], False) for row in offscope])
    manuals = sorted(path.parent for path in (DATA / "pdf_manuals").glob("*/qa.jsonl"))
    for here, other in zip(manuals, manuals[3:] + manuals[:3], strict=True):  # three on, as neighbours are about one product
        source = next(path for path in (here / "manual.pdf", here / "manual.docx", here / "site") if path.exists())
        asked = [(row["question"], bool(row["answerable"])) for row in read(here / "qa.jsonl")]
        found[here.name] = (source, asked + [(row["question"], False) for row in read(other / "qa.jsonl")])
    folder = work / "clapnq-passages"
    folder.mkdir(parents=True, exist_ok=True)
    for row in read(DATA / "clapnq" / "docs.jsonl"):
        (folder / f"{row['doc_id']}.md").write_text(f"# {row['title']}\n\n{row['text']}\n", encoding="utf-8")
    found["clapnq"] = (folder, [(row["question"], bool(row["answerable"])) for row in read(DATA / "clapnq" / "qa.jsonl")])
    return found


def measure(name: str, source: Path, asked: list[tuple[str, bool]], work: Path, embedder: Embedder) -> Rows:
    """The collection's rows, from the index in work/name; kept in a file, for the same questions and the same index."""
    ingest(work / name, source, embedder)
    retriever = Retriever(open_index(work / name, embedder), embedder)
    kept = work / f"{name}-{content_id(retriever.index.index_id, repr(asked), repr(FEATURES))}.npy"
    if not kept.exists():
        features = []
        for question, _ in asked:
            hits = retriever.search(question)
            features.append(confidence_features(question_terms(question, retriever.rareness), hits))
        np.save(kept, np.array(features))
    answerable = np.array([has_answer for _, has_answer in asked])
    share = np.where(answerable, 0.5 / answerable.sum(), 0.5 / (~answerable).sum())
    return Rows(np.load(kept), answerable, share)


def fit(rows: list[Rows]) -> np.ndarray:
    """Intercept and coefficients by weighted logistic regression with a ridge; no coefficient is let below 0."""
    features = np.concatenate([r.features for r in rows])
    sign = np.where(np.concatenate([r.answerable for r in rows]), 1.0, -1.0)
    weights = np.concatenate([r.weights for r in rows]) / len(rows)

    def loss(beta: np.ndarray) -> float:
        margin = sign * (beta[0] + features @ beta[1:])
        return float(weights @ np.logaddexp(0, -margin) + RIDGE * np.sum(beta[1:] ** 2))

    bounds = [(None, None)] + [(0.0, None)] * features.shape[1]
    return minimize(loss, np.zeros(features.shape[1] + 1), bounds=bounds, method="L-BFGS-B").x


def confidence(beta: np.ndarray, features: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(beta[0] + features @ beta[1:])))


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive row scores above a negative one, ties counted half (Mann-Whitney)."""
    ranks, n = rankdata(scores), int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--skip", nargs="*", default=[], help="collections to leave out")
    args = parser.parse_args()
    work = args.work
    embedder = load_embedder("minilm")
    rows = {name: measure(name, *source, work, embedder) for name, source in collections(work).items() if name not in args.skip}
    print(f"{'left out':28}{'AUROC':>7}{'refused rightly':>17}{'refused wrongly':>17}  (below .5)")
    for name, own in rows.items():
        scores = confidence(fit([r for other, r in rows.items() if other != name]), own.features)
        refused = scores < 0.5
        area = auroc(scores, own.answerable)
        print(f"{name:28}{area:7.3f}{refused[~own.answerable].mean():17.3f}{refused[own.answerable].mean():17.3f}")
    beta = fit(list(rows.values()))
    print("intercept", round(beta[0], 2), dict(zip(FEATURES, beta[1:].round(2).tolist(), strict=True)))


if __name__ == "__main__":
    main()
