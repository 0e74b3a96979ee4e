"""How fast an evaluation asks: batched as `emendo eval run` does it, against the same questions one by one, in one run.

`python -m benchmarks.eval_speed --questions 300 --singly 60` on the sample manuals with the bundled model, four arms (base and
tuned, each with and without passages). The tuned arms carry a random adapter: speed does not depend on what it has learned. The
one-by-one time is measured on `--singly` questions, evenly drawn, and scaled to all; each of its arms searches for itself, while
the batched arms with passages search once for both, as `emendo eval run` does. CPU seconds are given beside the clock's, because
only they can be compared on a machine that does other work.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from emendo.base_model import load_base
from emendo.config import Workspace
from emendo.demo import DATA, MANUALS
from emendo.hf_model import HFChatModel
from emendo.judging import BATCH
from emendo.records import Question
from eval.questions import load_questions
from eval.run import run_arm
from rag.answer import Ask, find_passages
from rag.assemble import Opener
from rag.ingest import ingest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--singly", type=int, default=60)
    parser.add_argument("--bits", default="nf4")
    args = parser.parse_args()
    questions = load_questions(DATA / "questions.jsonl")[: args.questions]
    some = questions[:: max(1, len(questions) // args.singly)][: args.singly]
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), questions, some, args.bits)


def measure(folder: Path, questions: Sequence[Question], some: Sequence[Question], bits: str) -> None:
    opened = Opener(Workspace(folder))
    embedder = opened.embedder()
    for file, product in MANUALS.items():
        ingest(opened.workspace.index, DATA / "manuals" / file, embedder, product=product)
    retriever = opened.retriever(embedder)
    model = opened.chat_model("hf:bundled", "", bits)
    assert isinstance(model, HFChatModel)
    adapter = random_adapter(folder / "random")
    print(f"{torch.get_num_threads()} threads, {len(questions)} questions, {len(some)} of them one by one")
    settings = opened.answerer(retriever, model).settings
    for question in questions:  # the sentences of the passages are embedded once, for whoever asks first
        find_passages(retriever, question.question, settings, question.product)
    searched: dict[Any, Any] = {}
    sums = {"batched": [0.0, 0.0], "singly": [0.0, 0.0]}
    for weights in (None, str(adapter)):
        model.set_adapter(weights)
        for source in (retriever, None):
            arm = f"{'tuned' if weights else 'base'}-{'rag' if source else 'alone'}"
            answerer = opened.answerer(source, model)
            answerer.searched = searched if source else None
            batched = timed(lambda a=answerer, k=arm: run_arm(k, a, questions, folder / "run", BATCH))  # type: ignore[misc]
            answerer = opened.answerer(source, model)
            singly = timed(lambda a=answerer: [a.answer_many([Ask(q.question, product=q.product)]) for q in some])  # type: ignore[misc]
            singly = [seconds * len(questions) / len(some) for seconds in singly]
            print(f"{arm}: batched {batched[0]:.1f} s (CPU {batched[1]:.1f}), one by one {singly[0]:.1f} s (CPU {singly[1]:.1f})")
            for kind, figures in (("batched", batched), ("singly", singly)):
                sums[kind] = [total + figure for total, figure in zip(sums[kind], figures, strict=True)]
    (clock, cpu), (slow_clock, slow_cpu) = sums["batched"], sums["singly"]
    print(f"four arms: batched {clock:.0f} s (CPU {cpu:.0f}), one by one {slow_clock:.0f} s (CPU {slow_cpu:.0f})")
    print(f"ratio: {slow_clock / clock:.1f} by the clock, {slow_cpu / cpu:.1f} by CPU time")


def timed(work: Callable[[], object]) -> list[float]:
    """(clock, CPU) seconds of a call."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return [time.perf_counter() - clock, time.process_time() - cpu]


def random_adapter(folder: Path) -> Path:
    """A LoRA adapter as `emendo tune` makes them, with random weights."""
    torch.manual_seed(0)
    model, _ = load_base(str(DATA / "model"), "fp32")
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.01)
    tuned.save_pretrained(str(folder))
    return folder


if __name__ == "__main__":
    main()
