"""The bundled model on unseen invented products, the right passage among four: alone, quoting, and quoting as it is served.

    python -m benchmarks.small_model [--questions 120] [--model data/model]

`alone` writes freely; `quoting` prints whole units of the passages, chosen by the model; `served` adds how well the search finds
each unit to meet the question (rag.evidence). In all three the model decides whether to refuse; in `shipped`, which is `served`
otherwise, the search's confidence does, as in the app.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from emendo.chat_models import BUNDLED
from emendo.hf_model import HFChatModel
from emendo.records import Chunk, Hit
from emendo.words import stems
from rag.answer import to_langchain
from rag.assemble import REFUSES_BELOW
from rag.confidence import answer_confidence
from rag.embedder import Embedder, load_embedder
from rag.evidence import find_evidence
from rag.fusion import inverse_frequency, question_terms
from rag.prompt import REFUSAL, is_refusal
from rag.unit_vectors import UnitVectors
from sft.pretrain_probe import exam_rows
from sft.pretrain_rows import QARow


def hits_of(row: QARow, embedder: Embedder) -> list[Hit]:
    """The row's passages as the search would hand them on, in the row's order."""
    question, *vectors = embedder.encode([row.question, *(f"{header}\n{text}" for header, text in row.passages)])
    return [
        Hit(
            Chunk(f"c{n}", "", "", "", tuple(header.split(" > ")), text, header),
            1.0,
            n,
            {"dense_cosine": float(vector @ question)},
        )
        for n, ((header, text), vector) in enumerate(zip(row.passages, vectors, strict=True), 1)
    ]


def show(name: str, rows: Sequence[QARow], texts: Sequence[str]) -> None:
    asked = [(row, text) for row, text in zip(rows, texts, strict=True) if row.cited]
    empty = [text for row, text in zip(rows, texts, strict=True) if not row.cited]
    cited = sum({int(n) for n in re.findall(r"\[(\d)\]", text)} == {row.cited} for row, text in asked) / len(asked)
    recalled = [unit in text for row, text in asked for unit in row.units]
    refused = sum(map(is_refusal, empty)) / len(empty)
    wrongly = sum(is_refusal(text) for _, text in asked) / len(asked)
    print(
        f"{name:8} citation right {cited:.3f}, fact recall {sum(recalled) / len(recalled):.3f}, refusal recall {refused:.3f}, "
        f"false refusals {wrongly:.3f} ({len(asked)} + {len(empty)} questions)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--model", default=str(BUNDLED))
    args = parser.parse_args()
    rows = exam_rows(args.questions, ())
    seen = Counter(word for row in rows for header, text in row.passages for word in stems(f"{header} {text}"))
    total = sum(len(row.passages) for row in rows)
    embedder = load_embedder()
    vectors = UnitVectors(embedder)
    prompts: dict[str, list[list[BaseMessage]]] = {"alone": [], "quoting": [], "served": []}
    confidence = []
    for row in rows:
        hits, messages = hits_of(row, embedder), row.messages()
        ranked = sorted(range(len(hits)), key=lambda n: -hits[n].stages["dense_cosine"])
        terms = question_terms(row.question, lambda word: inverse_frequency(seen[word], total))
        best_first = [hits[n] for n in ranked]
        found = find_evidence(row.question, terms, best_first, vectors.cosines)
        confidence.append(answer_confidence(row.question, terms, best_first, found, vectors.likest))
        scores = {(ranked[e.unit.passage], e.unit.position): e.score for e in found}
        prompts["alone"].append(to_langchain(messages, row.question, []))
        prompts["quoting"].append(to_langchain(messages, row.question, hits))
        prompts["served"].append(to_langchain(messages, row.question, hits, [scores[place] for place in sorted(scores)]))
    model = HFChatModel.load(args.model, bits="fp32", verbatim=True, refusal=REFUSAL)
    for name, conversations in prompts.items():
        show(name, rows, model.generate_texts(conversations))
    model.refuse_above = 1.0
    texts = model.generate_texts(prompts["served"])
    show("shipped", rows, [REFUSAL if c < REFUSES_BELOW else text for c, text in zip(confidence, texts, strict=True)])


if __name__ == "__main__":
    main()
