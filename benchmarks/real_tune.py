"""Does tuning on half of the sections of real manuals help on the other half? `python -m benchmarks.real_tune --work DIR`.

The hand-written questions of the manuals in ../shared/data/pdf_manuals become corrections: the sentences of the gold quotes as
the right answer, their passages as evidence, refusals where the manual does not say. The sections are cut in two halves, an
adapter of the bundled model is tuned on each half with the default settings, and each question is asked of the adapter that has
not seen its section, and of the base, as served, over its own manual. In fact_recall a refused answerable question counts 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fit_confidence import DATA, read, source_of
from emendo.config import open_workspace
from emendo.records import Answer, Correction, Question, UserError
from emendo.units import split_units
from eval.metrics import score_answer
from eval.stats import compare
from rag.answer import Ask
from rag.assemble import Opener
from rag.ingest import ingest
from rag.prompt import REFUSAL
from sft.cleaning import jaccard, shingles
from sft.corrections import read_corrections
from sft.examples import build_examples
from sft.train import TuneSettings, tune

FIRST = ("afterburner", "direwolf", "dsview")  # the three that are told apart from the rest
MODEL, BITS, SEED = "bundled", "nf4", 7
SHOWN = ("fact_recall", "token_f1", "cited_page", "abstention_recall", "over_refusal")


@dataclass(frozen=True)
class Row:
    """A question of a manual, and the correction made of it; None where the index does not hold its quote."""

    manual: str
    question: Question
    correction: Correction | None
    half: int = 0


def open_manuals(work: Path) -> dict[str, Opener]:
    """A workspace for each manual, indexed."""
    found = {}
    for path in sorted((DATA / "pdf_manuals").glob("*/qa.jsonl")):
        found[path.parent.name] = opened = Opener(open_workspace(str(work / path.parent.name)))
        ingest(opened.workspace.index, source_of(path.parent), opened.embedder())
    return found


def read_rows(manual: str, opened: Opener, work: Path, seed: int) -> list[Row]:
    """All rows of a manual, its sections dealt to the halves 0 and 1."""
    retriever, settings = opened.retriever(), opened.answer_settings(f"hf:{MODEL}")
    found = []
    for gold in read(DATA / "pdf_manuals" / manual / "qa.jsonl"):
        quotes = [quote["text"] for quote in gold.get("quotes", ())]
        light = {
            "id": gold["id"],
            "question": gold["question"],
            "corrected": " ".join(quotes) or REFUSAL,
            "evidence": quotes,
            "should_abstain": not gold["answerable"],
        }
        (work / "row.jsonl").write_text(json.dumps(light), encoding="utf-8")
        try:
            [correction] = read_corrections(work / "row.jsonl", retriever, settings)
        except UserError:  # the quote is not in the index: nothing to learn from, still a question
            correction = None
        at_page = f"{manual}/{gold['pages'] or gold['id']}"
        question = Question(
            gold["id"],
            gold["question"],
            gold["answerable"],
            answer=gold["answer"],
            facts=tuple(gold["facts"]),
            pages=tuple(map(str, gold["pages"])),
            cluster=correction.cluster if correction and quotes else at_page,
        )
        if correction:
            correction = dataclasses.replace(whole_units(correction, quotes), cluster=question.cluster)
        found.append(Row(manual, question, correction))
    sections = sorted({row.question.cluster for row in found})
    random.Random(f"{seed}/{manual}").shuffle(sections)
    return [dataclasses.replace(row, half=sections.index(row.question.cluster) % 2) for row in found]


def whole_units(correction: Correction, quotes: Sequence[str]) -> Correction:
    """The correction with each quote completed to the sentence, step or row of its passage that it shares most words with."""
    hits = [(n, hit.chunk) for n, hit in enumerate(correction.hits, 1) if hit.chunk.chunk_id in correction.evidence]
    units = [(n, unit.text) for n, chunk in hits for unit in split_units(chunk.text, n)]
    if not units or not quotes:
        return correction
    chosen = [max(units, key=lambda unit: jaccard(shingles(unit[1], 1), shingles(quote, 1))) for quote in quotes]
    lines = [f"{text} [{n}]" for n, text in dict.fromkeys(chosen)]
    return dataclasses.replace(correction, corrected=" ".join(lines))


def tuned_without(half: int, rows: Sequence[Row], work: Path) -> str:
    """Folder of the adapter tuned on the other half's corrections."""
    corrections = [row.correction for row in rows if row.half != half and row.correction]
    data = build_examples(corrections)
    by_id = {correction.correction_id: correction for correction in corrections}
    card = tune(MODEL, data, by_id, work / "adapters", TuneSettings(), lambda *_: None)
    losses = {name: round(value, 3) for name, value in card.losses.items()}
    print(f"for half {half}: {len(data.train)} examples, {losses}, {card.seconds} s", flush=True)
    return str(work / "adapters" / card.adapter_id)


def ask(rows: Sequence[Row], opened: dict[str, Opener], adapter: str) -> dict[str, Answer]:
    """The answers by question id, each from the index of its own manual."""
    model = next(iter(opened.values())).chat_model(f"hf:{MODEL}", adapter, BITS)
    found: dict[str, Answer] = {}
    for manual, opener in opened.items():
        asked = [row.question for row in rows if row.manual == manual]
        answers = opener.answerer(opener.retriever(), model).answer_many([Ask(question.question) for question in asked])
        found |= {question.id: answer for question, answer in zip(asked, answers, strict=True)}
    return found


def table(name: str, rows: Sequence[Row], before: dict[str, Answer], after: dict[str, Answer]) -> None:
    print(f"\n{name}: {len(rows)} questions, {len({row.question.cluster for row in rows})} sections")
    for metric in SHOWN:
        scored = []
        for row in rows:
            pair = [
                next(s.value for s in score_answer(row.question, found[row.question.id]) if s.metric == metric)
                for found in (before, after)
            ]
            if None not in pair:
                scored.append((*pair, row.question.cluster))
        if scored:
            first, second, clusters = zip(*scored, strict=True)
            c = compare(first, second, clusters, higher_is_better=metric != "over_refusal")
            print(
                f"  {metric:18} n={c.n:3} {c.before:.3f} -> {c.after:.3f} ({c.difference:+.3f}) "
                f"[{c.interval.low:+.3f}, {c.interval.high:+.3f}] p = {c.p:.4f} ({c.test}, {c.improved} up, {c.worsened} down)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=SEED, help="of the halves")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    opened = open_manuals(args.work)
    rows = [row for manual, opener in opened.items() for row in read_rows(manual, opener, args.work, args.seed)]
    print(f"{len(rows)} questions, {sum(row.correction is not None for row in rows)} of them as corrections", flush=True)
    base = ask(rows, opened, "")
    tuned: dict[str, Answer] = {}
    for half in (0, 1):
        tuned |= ask([row for row in rows if row.half == half], opened, tuned_without(half, rows, args.work))
    with (args.work / "answers.jsonl").open("w", encoding="utf-8") as out:
        for row in rows:
            pair = [found[row.question.id].text for found in (base, tuned)]
            out.write(json.dumps([row.question.id, row.question.question, row.question.facts, *pair], ensure_ascii=False) + "\n")
    table(f"three manuals ({', '.join(FIRST)})", [row for row in rows if row.manual in FIRST], base, tuned)
    table("all eight", rows, base, tuned)


if __name__ == "__main__":
    main()
