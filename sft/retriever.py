"""Corrections and headings -> an embedder that knows these manuals, kept only where held-out retrieval improves.

The stock embedder is fine-tuned on pairs (what one asks, the passage that answers): every heading with its section, every
corrected question with its evidence. Loss: in-batch negatives (Henderson et al. 2017; MultipleNegativesRankingLoss).
"""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emendo.files import write_whole
from emendo.quiet import quiet_libraries
from emendo.records import Chunk, Correction, UserError, content_id, to_json
from emendo.store import now
from rag.embedder import Embedder, SentenceEmbedder, load_embedder
from rag.index import indexed_text

_ENOUGH = 20  # held-out questions on which to judge; below it headings are judged
_LEAST_PAIRS = 8
_CARD = "card.json"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RetrieverSettings:
    """[retriever] in emendo.toml."""

    epochs: int = 2  # passes over the pairs
    batch_size: int = 32  # also the number of passages each question is told apart from
    learning_rate: float = 3e-5  # highest, after the warm-up
    max_tokens: int = 160  # read of a passage while training; indexing reads all it can
    held_out: float = 0.2  # share of the sections that is judged on and not learned
    seed: int = 0  # of order and split


@dataclass(frozen=True)
class Pair:
    """What one asks, and a passage that answers it."""

    query: str
    chunk_id: str
    passage: str  # what is learned for it
    kind: str  # heading | question
    group: str  # sections of one heading, in whatever manual: learned or held out together


@dataclass(frozen=True)
class Pairs:
    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]  # of one kind: questions where there are enough of them


@dataclass(frozen=True)
class Judgement:
    """Reciprocal ranks of the held-out queries before and after, and what the paired test said."""

    metric: str
    queries: int
    before: float
    after: float
    p: float
    better: bool


@dataclass(frozen=True)
class EmbedderCard:
    """What an adapted embedder is and what it was made from; saved beside its weights as card.json."""

    embedder_id: str
    base: str
    settings: dict[str, Any]
    pairs: dict[str, int]  # headings and questions learned
    correction_ids: tuple[str, ...]
    judgement: Judgement
    kept: bool
    loss: dict[str, float]  # first, last
    seconds: float
    at: str  # ISO 8601, UTC


Judge = Callable[[Embedder, Embedder, Sequence[Pair]], Judgement]


def build_pairs(chunks: Iterable[Chunk], corrections: Sequence[Correction], settings: RetrieverSettings) -> Pairs:
    """Pairs of the manuals and of the approved corrections, split by section. UserError when there are too few to learn from.

    A heading's passage is shown without its headings, which would give the answer away.
    """
    headings = [_heading_pair(chunk) for chunk in chunks if chunk.section]
    questions = [
        Pair(correction.question, hit.chunk.chunk_id, indexed_text(hit.chunk), "question", _group(hit.chunk))
        for correction in corrections
        if correction.status == "approved" and not correction.should_abstain
        for hit in correction.hits
        if hit.chunk.chunk_id in correction.evidence
    ]
    groups = sorted({pair.group for pair in headings + questions})
    random.Random(settings.seed).shuffle(groups)
    apart = set(groups[: round(len(groups) * settings.held_out)])
    train = tuple(pair for pair in headings + questions if pair.group not in apart)
    asked = tuple(pair for pair in questions if pair.group in apart)
    held_out = asked if len(asked) >= _ENOUGH else tuple(pair for pair in headings if pair.group in apart)
    if len(train) < _LEAST_PAIRS or not held_out:
        raise UserError(
            f"{len(train)} pairs to learn from and {len(held_out)} to judge on, expected {_LEAST_PAIRS} and 1 at least; "
            "index manuals with headings, or approve corrections"
        )
    return Pairs(train, held_out)


def tune_retriever(
    pairs: Pairs,
    corrections: Sequence[Correction],
    folder: Path,
    judge: Judge,
    settings: RetrieverSettings,
    progress: Progress,
    base: Embedder | None = None,
) -> EmbedderCard:
    """Train, judge, and keep the weights in `folder/<id>` where the judge says better; the card is kept either way."""
    start = time.perf_counter()
    stock = base or load_embedder()
    if not isinstance(stock, SentenceEmbedder):
        raise UserError(f"embedder {stock.id} has no weights to adapt; set index.embedder to minilm-manuals or st:<folder>")
    at = now()
    identity = content_id(stock.id, to_json(settings), *(f"{pair.query}\n{pair.passage}" for pair in pairs.train), at, length=8)
    target = folder / f"adapted-{identity}"
    partial = folder / f".{target.name}"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(stock.folder, partial, ignore=shutil.ignore_patterns("*.safetensors", "README.md", "*.bin", "__pycache__"))
    losses = _train(stock, partial, pairs.train, settings, progress)
    judgement = judge(stock, load_embedder(f"st:{partial}"), pairs.held_out)
    if not judgement.better:
        (partial / "model.safetensors").unlink()
    counts = {kind: sum(pair.kind == kind for pair in pairs.train) for kind in ("heading", "question")}
    learned = tuple(c.correction_id for c in corrections if any(pair.query == c.question for pair in pairs.train))
    seconds = time.perf_counter() - start
    card = EmbedderCard(
        target.name,
        stock.id,
        dataclasses.asdict(settings),
        counts,
        learned,
        judgement,
        judgement.better,
        losses,
        seconds,
        at,
    )
    write_whole(partial / _CARD, json.dumps(dataclasses.asdict(card), ensure_ascii=False, indent=1) + "\n")
    partial.rename(target)
    return card


def _train(
    stock: SentenceEmbedder, target: Path, pairs: Sequence[Pair], settings: RetrieverSettings, progress: Progress
) -> dict[str, float]:
    """Fine-tune `stock` on the pairs and write its weights to `target`; the first and the last loss."""
    quiet_libraries()
    from datasets import Dataset, disable_progress_bars
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.training_args import BatchSamplers
    from transformers import PrinterCallback, ProgressCallback, TrainerCallback

    from rag.bert import has_native_bfloat16, read_weights

    disable_progress_bars()

    class Report(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress("adapting the embedder", state.global_step, state.max_steps)

    model = SentenceTransformer(str(stock.folder), device="cpu", local_files_only=True)
    weights = read_weights(stock.folder, stock.adapter)
    if stock.adapter:
        model.load_state_dict({f"0.model.{name}": value for name, value in weights.items()}, strict=False)
    model.max_seq_length = settings.max_tokens
    rows = Dataset.from_dict({"anchor": [pair.query for pair in pairs], "positive": [pair.passage for pair in pairs]})
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(target / "training"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=0.1,
        batch_sampler=BatchSamplers.NO_DUPLICATES,  # a passage of the same heading would count as a wrong answer
        bf16=has_native_bfloat16(),
        use_cpu=True,
        seed=settings.seed,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(model, arguments, rows, loss=MultipleNegativesRankingLoss(model), callbacks=[Report()])
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    _save_weights(model, weights, target)
    shutil.rmtree(target / "training", ignore_errors=True)
    return {"first": losses[0], "last": losses[-1]}


def _save_weights(model: Any, weights: dict[str, Any], target: Path) -> None:
    """In the layout of the stock file's `weights`, so that whatever reads that one reads this one."""
    from safetensors.torch import save_file

    learned = {name.removeprefix("0.model."): value for name, value in model.state_dict().items()}
    missing = [name for name, value in weights.items() if value.is_floating_point() and name not in learned]
    if missing:
        raise UserError(f"weights {missing[0]} are not of the model that was trained; only BERT embedders can be adapted")
    save_file({name: learned.get(name, value).contiguous() for name, value in weights.items()}, target / "model.safetensors")


def _heading_pair(chunk: Chunk) -> Pair:
    return Pair(" ".join(chunk.section[-2:]), chunk.chunk_id, chunk.text, "heading", _group(chunk))


def _group(chunk: Chunk) -> str:
    return " > ".join(chunk.section[-1:]).casefold() or chunk.doc_id
