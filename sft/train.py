"""QLoRA: TRL's SFTTrainer with PEFT adapters on a bitsandbytes NF4 base (arXiv 2305.14314)."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emendo.chat_models import resolve_base
from emendo.hf_model import load_base, stop_token_ids
from emendo.records import AdapterCard, Correction, UserError, content_id, to_json
from emendo.store import now
from rag.prompt import PROMPT_VERSION
from sft.adapters import weights_sha256
from sft.checkpoints import last_whole
from sft.encoding import Encoded, batches_in_order, encode_all
from sft.examples import ExampleSet


@dataclass(frozen=True)
class TuneSettings:
    """[tune] in emendo.toml."""

    bits: Literal["nf4", "bf16", "fp32"] = "nf4"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    learning_rate: float | None = None  # None: by size, see `learning_rate_for`
    batch_size: int = 4  # rows per step on the device
    accumulate: int = 1  # steps per update
    epochs: float | None = None  # None: by size, see `epochs_for`
    warmup_share: float = 0.05
    weight_decay: float = 0.0
    max_tokens: int = 2048  # longer examples are an error, never cut
    save_steps: int = 50
    checkpointing: bool = False  # gradient checkpointing: less memory, about 1.4x slower
    seed: int = 7


Progress = Callable[[int, int, dict[str, float]], None]  # (step, steps, {"loss": ..., "validation_loss": ...})


def tune(
    base: str, data: ExampleSet, corrections: dict[str, Correction], folder: Path, settings: TuneSettings, progress: Progress
) -> AdapterCard:
    """Tune an adapter on `data` and save it as `folder/<adapter_id>`, whole or not at all.

    The id is a hash of base, examples and settings: the same call resumes an interrupted run from its last whole checkpoint,
    and returns a finished one at once. `corrections` are the ones the examples were made from, by id.
    """
    base = resolve_base(base)
    identity = content_id(base, PROMPT_VERSION, json.dumps(dataclasses.asdict(settings)), *data.hashes, length=12)
    target, run = folder / identity, folder / f".running-{identity}"
    if (target / "card.json").is_file():
        from sft.adapters import read_card

        return read_card(target)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    model, tokenizer = load_base(base, settings.bits, training=True)
    rows, validation = _encode(data, model, tokenizer, settings)
    trainer = build_trainer(model, tokenizer, rows, validation, run, settings, progress)
    checkpoint = last_whole(run)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    losses = _losses(trainer, bool(validation))
    card = AdapterCard(
        adapter_id=identity,
        base_model=base,
        base_sha256=weights_sha256(Path(base)),
        prompt_version=PROMPT_VERSION,
        template_sha256=content_id(tokenizer.chat_template),
        settings=dataclasses.asdict(settings),
        example_hashes=data.hashes,
        correction_ids=tuple(dict.fromkeys(example.correction_id for example in data.train)),
        clusters=tuple(sorted({corrections[example.correction_id].cluster for example in data.train})),
        losses=losses,
        versions={name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl", "peft", "bitsandbytes")},
        seconds=round(time.perf_counter() - start, 1),
        at=now(),
    )
    _publish(trainer, card, target, run)
    return card


def build_trainer(
    model: Any,
    tokenizer: Any,
    rows: list[Encoded],
    validation: list[Encoded],
    run: Path,
    settings: TuneSettings,
    progress: Progress,
) -> Any:
    """The SFTTrainer, its adapters in fp32 (TRL casts them to bf16, where small updates are lost and resume is not exact)."""
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig

    from sft.trainer import ProgressCallback, SealedTrainer, to_dataset

    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    ordered = batches_in_order(rows, settings.batch_size, settings.epochs or epochs_for(model.num_parameters()), settings.seed)
    datasets.disable_progress_bars()
    updates = math.ceil(len(ordered) / (settings.batch_size * settings.accumulate))
    config = SFTConfig(
        output_dir=str(run),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        num_train_epochs=1,  # `ordered` holds all epochs
        learning_rate=settings.learning_rate or learning_rate_for(model.num_parameters()),
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=round(settings.warmup_share * updates),
        weight_decay=settings.weight_decay,
        max_grad_norm=1.0,
        max_length=None,  # lengths are checked before: nothing is cut
        completion_only_loss=True,
        train_sampling_strategy="sequential",
        gradient_checkpointing=settings.checkpointing,
        bf16=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validation else "no",
        eval_steps=max(1, updates // 4),
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        seed=settings.seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer: Any = SealedTrainer(
        model=model,
        args=config,
        processing_class=tokenizer,
        peft_config=lora,
        train_dataset=to_dataset(ordered),
        eval_dataset=to_dataset(validation) if validation else None,
        callbacks=[ProgressCallback(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def learning_rate_for(parameters: int) -> float:
    """2e-4 up to 4B parameters, 1e-4 above (about ten times the rate of a full tuning); 2e-3 for models below 100M."""
    if parameters < 100e6:
        return 2e-3
    return 2e-4 if parameters <= 4.5e9 else 1e-4


def epochs_for(parameters: int) -> float:
    """2, because more makes a large model recite a few hundred corrections; 4 for models below 100M, which learn slowly."""
    return 4.0 if parameters < 100e6 else 2.0


def _encode(data: ExampleSet, model: Any, tokenizer: Any, settings: TuneSettings) -> tuple[list[Encoded], list[Encoded]]:
    window = min(settings.max_tokens, int(getattr(model.config, "max_position_embeddings", settings.max_tokens)))
    stops = stop_token_ids(model, tokenizer)
    return encode_all(data.train, tokenizer, stops, window), encode_all(data.validation, tokenizer, stops, window)


def _losses(trainer: Any, validated: bool) -> dict[str, float]:
    """First and last training loss (mean of up to ten steps) and first and best validation loss, nats per labelled token."""
    steps = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    checks = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    head, tail = steps[:10], steps[-10:]
    losses = {"train_first": sum(head) / len(head), "train_last": sum(tail) / len(tail)} if steps else {}
    if validated and checks:
        losses |= {"validation_last": checks[-1], "validation_best": min(checks)}
    if not all(math.isfinite(value) for value in losses.values()):
        raise UserError("the loss became infinite or not a number; lower it with --set tune.learning_rate=1e-4")
    return losses


def _publish(trainer: Any, card: AdapterCard, target: Path, run: Path) -> None:
    """Write weights and card beside, then rename: an adapter folder with a card is always whole."""
    partial = target.with_name(f".partial-{card.adapter_id}")
    shutil.rmtree(partial, ignore_errors=True)
    trainer.model.save_pretrained(partial)
    (partial / "losses.json").write_text(json.dumps(trainer.state.log_history), encoding="utf-8")
    (partial / "card.json").write_text(to_json(card), encoding="utf-8")
    partial.replace(target)
    shutil.rmtree(run, ignore_errors=True)
