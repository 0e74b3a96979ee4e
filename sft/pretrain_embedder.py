"""The bundled embedder, tuned once on customers' questions to many manuals: `python -m sft.pretrain_embedder --work DIR`.

LoRA (Hu et al. 2021) on all linear layers of MiniLM. A question is drawn to the passage that answers it, away from the other
passages of its batch and from one that the search finds but that is another one (InfoNCE, van den Oord et al. 2018; hard
negatives as in Karpukhin et al. 2020), and in the same step to the sentence, step or row that answers it. A batch asks two
manuals, so that most of what a question is told apart from is about the same product.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emendo.quiet import quiet_libraries
from emendo.units import split_units
from rag.embedder import ADAPTER, Embedder, SentenceEmbedder, load_minilm
from rag.index import indexed_text
from sft.manual_questions import AskedManual, asked_manuals

if TYPE_CHECKING:
    import torch

_SAVED_EVERY = 100  # steps
log = logging.getLogger("pretrain_embedder")


@dataclass(frozen=True)
class EmbedderTraining:
    """What the shipped adapter was trained with."""

    rank: int = 16  # of LoRA; alpha is twice it
    learning_rate: float = 1e-3  # highest, after the warm-up; then it falls to 0
    epochs: int = 1
    questions: int = 8  # of one manual in a batch
    manuals: int = 2  # in a batch
    found: int = 20  # wrong passages that the search finds, of which one is drawn
    temperature: float = 0.05  # cosines are divided by it
    question_tokens: int = 64
    passage_tokens: int = 160  # read of a passage while training; indexing reads all it can
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """A question, the texts that answer it, and texts that do not."""

    question: str
    passage: str
    wrong_passages: tuple[str, ...]
    unit: str  # "" where none is known
    wrong_units: tuple[str, ...]


def rows_of(manual: AskedManual, embedder: Embedder, found: int) -> list[Row]:
    """Training rows of one manual; wrong passages are those that the stock embedder finds first."""
    vectors = embedder.encode([asked.question for asked in manual.asked])
    rows = []
    for asked, vector in zip(manual.asked, vectors, strict=True):
        ids = [chunk_id for chunk_id, _ in manual.index.dense(vector, found + 1) if chunk_id != asked.chunk.chunk_id]
        wrong = tuple(indexed_text(chunk) for chunk in manual.index.get_chunks(ids[:found]))
        units = tuple(unit.text for unit in split_units(asked.chunk.text, 0) if unit.text != asked.unit)
        rows.append(Row(asked.question, indexed_text(asked.chunk), wrong, asked.unit, units))
    return rows


def batches(rows: dict[str, list[Row]], settings: EmbedderTraining, rng: random.Random) -> Iterator[list[Row]]:
    """One epoch: every question once, but for groups left over."""
    groups = []
    for of_manual in rows.values():
        shuffled = rng.sample(of_manual, len(of_manual))
        groups += [shuffled[n : n + settings.questions] for n in range(0, len(shuffled), settings.questions)]
    rng.shuffle(groups)
    for n in range(0, len(groups) - settings.manuals + 1, settings.manuals):
        yield list(itertools.chain.from_iterable(groups[n : n + settings.manuals]))


class Trainer:
    """The embedder under training: tokenizer, model with its adapter, optimizer."""

    def __init__(self, embedder: SentenceEmbedder, settings: EmbedderTraining, steps: int):
        quiet_libraries()
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModel, AutoTokenizer

        torch.manual_seed(settings.seed)
        self.settings, self.steps, self.rng = settings, steps, random.Random(settings.seed)
        self.tokenizer = AutoTokenizer.from_pretrained(embedder.folder)
        model = AutoModel.from_pretrained(embedder.folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        linear = [name for name, module in model.encoder.named_modules() if isinstance(module, torch.nn.Linear)]
        targets = [f"encoder.{name}" for name in linear]
        config = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules=targets)
        self.model: Any = get_peft_model(model, config).train()
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=settings.learning_rate)

    def step(self, number: int, rows: Sequence[Row]) -> tuple[float, float]:
        """One update; the losses of passages and of units before it."""
        import torch

        tokens = self.settings.passage_tokens
        questions = self._encode([row.question for row in rows], self.settings.question_tokens)
        wrong = [self.rng.choice(row.wrong_passages) for row in rows]
        passages = self._loss(questions, [row.passage for row in rows], wrong, tokens)
        known = [n for n, row in enumerate(rows) if row.unit and row.wrong_units]
        wrong = [self.rng.choice(rows[n].wrong_units) for n in known]
        units = self._loss(questions[known], [rows[n].unit for n in known], wrong, self.settings.question_tokens)
        warmth = min(1.0, (number + 1) / (0.1 * self.steps), (self.steps - number) / self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * warmth
        (passages + units).backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return passages.item(), units.item()

    def _loss(self, questions: torch.Tensor, right: list[str], wrong: list[str], tokens: int) -> torch.Tensor:
        """Cross entropy of each question's own text among all; a text that answers two questions is never wrong for either."""
        import torch

        if not right:
            return torch.zeros(())
        scores = questions @ self._encode(right + wrong, tokens).T / self.settings.temperature
        also = [[n != m and text == right[n] for m, text in enumerate(right + wrong)] for n in range(len(right))]
        return torch.nn.functional.cross_entropy(scores.masked_fill(torch.tensor(also), float("-inf")), torch.arange(len(right)))

    def _encode(self, texts: Sequence[str], tokens: int) -> torch.Tensor:
        """(texts, dimension), rows of length 1; texts of like length are computed together."""
        import torch

        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        vectors: list[Any] = [None] * len(texts)
        for part in (order[n : n + 16] for n in range(0, len(order), 16)):
            batch = self.tokenizer(
                [texts[n] for n in part],
                padding=True,
                truncation=True,
                max_length=tokens,
                pad_to_multiple_of=16,
                return_tensors="pt",
            )
            with torch.autocast("cpu", dtype=torch.bfloat16):
                states = self.model(**batch).last_hidden_state.float()
            held = batch["attention_mask"][..., None].float()
            for n, vector in zip(part, (states * held).sum(1) / held.sum(1), strict=True):
                vectors[n] = vector
        return torch.nn.functional.normalize(torch.stack(vectors), dim=1)


def save(model: Any, folder: Path) -> None:
    """PEFT's layout without its README, weights in half precision: 1.3 MB."""
    from safetensors.torch import load_file, save_file

    for config in model.peft_config.values():
        config.base_model_name_or_path = "sentence-transformers/all-MiniLM-L6-v2"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as written:
        model.save_pretrained(written, save_embedding_layers=False)
        weights = load_file(Path(written, "adapter_model.safetensors"))
        config = Path(written, "adapter_config.json").read_text(encoding="utf-8")
    save_file({name: value.half().contiguous() for name, value in weights.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(config + "\n", encoding="utf-8")


def measure(embedder: Embedder, work: Path) -> dict[str, tuple[float, float, int]]:
    """Of each manual of the dev split: the search by meaning alone has the answering passage first, among five; questions."""
    figures = {}
    for manual in asked_manuals("dev", work, embedder):
        vectors = embedder.encode([asked.question for asked in manual.asked])
        first = five = 0
        for asked, vector in zip(manual.asked, vectors, strict=True):
            ids = [chunk_id for chunk_id, _ in manual.index.dense(vector, 5)]
            first += ids[0] == asked.chunk.chunk_id
            five += asked.chunk.chunk_id in ids
        figures[manual.name] = (first / len(vectors), five / len(vectors), len(vectors))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sft.pretrain_embedder", description="Tune the bundled embedder.")
    parser.add_argument("--work", type=Path, required=True, help="keeps packages and indexes for the next run")
    parser.add_argument("--out", type=Path, help="folder of the adapter; without it the present one is measured")
    parser.add_argument("--epochs", type=int, default=EmbedderTraining.epochs)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stock = load_minilm()
    settings = EmbedderTraining(epochs=args.epochs)
    if args.out:
        rows = {m.name: rows_of(m, stock, settings.found) for m in asked_manuals("train", args.work / "minilm", stock)}
        rng = random.Random(settings.seed)
        order = [batch for _ in range(settings.epochs) for batch in batches(rows, settings, rng)]
        log.info("%d questions to %d manuals, %d steps", sum(map(len, rows.values())), len(rows), len(order))
        trainer = Trainer(stock, settings, len(order))
        for number, batch in enumerate(order):
            losses = trainer.step(number, batch)
            log.info("%d of %d: loss of passages %.3f, of units %.3f", number + 1, len(order), *losses)
            if (number + 1) % _SAVED_EVERY == 0 or number + 1 == len(order):
                save(trainer.model, args.out)
        (args.out / "training.json").write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")
    tuned = load_minilm(args.out or ADAPTER)
    for embedder, work in ((stock, args.work / "minilm"), (tuned, args.work / tuned.id)):
        for manual, (first, five, asked) in measure(embedder, work).items():
            log.info("%s on %s, by meaning alone: first %.3f, among five %.3f of %d", embedder.id, manual, first, five, asked)


if __name__ == "__main__":
    main()
