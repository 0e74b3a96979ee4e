"""Answers of a model that needs no tuning on the real manuals: `python -m benchmarks.answers --work DIR [--show]`.

Every question is asked of its own manual. facts: share of the gold facts in the answer, an answer refused counts 0; page: the
first page cited is a gold page, of those answered. DIR keeps the indexes (the same as benchmarks.fit_confidence's).
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from benchmarks.fit_confidence import DATA, read, source_of
from emendo.chat_models import load_chat_model
from emendo.records import Answer, Citation
from eval.facts import missing_facts
from rag.answer import Answerer, AnswerSettings
from rag.assemble import REFUSES_BELOW
from rag.embedder import Embedder, load_embedder
from rag.index import open_index
from rag.ingest import ingest
from rag.retrieve import Retriever


def pages_of(citation: Citation) -> set[str]:
    return {str(page) for page in citation.pages} or {citation.source, citation.source.rpartition("/")[2]}


def score(row: dict, answer: Answer) -> Counter[str]:
    """Sums of one question; shares are taken over all."""
    if not row["answerable"]:
        return Counter(unanswerable=1, rightly=int(answer.abstained))
    gold, cited = {str(page) for page in row["pages"]}, [pages_of(citation) for citation in answer.citations]
    counts: Counter = Counter(answerable=1, words=len(answer.text.split()), wrongly=int(answer.abstained))
    counts["facts"] = 1 - len(missing_facts(answer.text, row["facts"])) / max(len(row["facts"]), 1)  # type: ignore[assignment]
    if cited:
        counts += Counter(answered=1, page=int(bool(cited[0] & gold)), any_page=int(any(pages & gold for pages in cited)))
        counts["supported"] += int(all(citation.supported for citation in answer.citations))
    return counts


def measure(
    folder: Path, work: Path, embedder: Embedder, settings: AnswerSettings, show: bool
) -> tuple[Counter[str], list[float]]:
    """Counts of one manual's questions, and the CPU seconds of each answer."""
    ingest(work / folder.name, source_of(folder), embedder)
    answerer = Answerer(Retriever(open_index(work / folder.name, embedder), embedder), load_chat_model("quote"), settings)
    counts: Counter[str] = Counter()
    seconds = []
    for row in read(folder / "qa.jsonl"):
        start = time.process_time()
        answer = answerer.answer(row["question"])
        seconds.append(time.process_time() - start)
        counts += score(row, answer)
        if show:
            print(f"\n{row['id']} ({answer.confidence:.2f}) {row['question']}\n{answer.text}\n-- {row['facts']} {row['pages']}")
    return counts, seconds


def line(name: str, c: Counter[str]) -> str:
    n, answered = max(c["answerable"], 1), max(c["answered"], 1)
    shares = {"facts": c["facts"] / n, "page": c["page"] / answered, "any page": c["any_page"] / answered}
    shares |= {"supported": c["supported"] / answered, "refused wrongly": c["wrongly"] / n}
    shares |= {"refused rightly": c["rightly"] / max(c["unanswerable"], 1)}
    return (
        f"{name:26} n={n:3} " + " ".join(f"{key} {value:.3f}" for key, value in shares.items()) + f" words {c['words'] / n:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--refuse-below", type=float, default=REFUSES_BELOW)
    parser.add_argument("--show", action="store_true", help="print questions and answers")
    args = parser.parse_args()
    embedder, settings = load_embedder(), AnswerSettings(passages=4, refuse_below=args.refuse_below)
    total: Counter[str] = Counter()
    seconds: list[float] = []
    for path in sorted((DATA / "pdf_manuals").glob("*/qa.jsonl")):
        counts, taken = measure(path.parent, args.work, embedder, settings, args.show)
        print(line(path.parent.name, counts), flush=True)
        total += counts
        seconds += taken
    print(line("all", total))
    print(f"CPU seconds of one answer: median {sorted(seconds)[len(seconds) // 2]:.3f}, most {max(seconds):.3f}")


if __name__ == "__main__":
    main()
