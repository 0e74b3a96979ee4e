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
from typing import TYPE_CHECKING, Any, Literal

from emendo.base_model import load_base, stop_token_ids
from emendo.chat_models import BUNDLED, resolve_base
from emendo.files import weights_sha256
from emendo.records import AdapterCard, Correction, UserError, content_id, to_json
from emendo.store import now
from rag.prompt import PROMPT_VERSION
from sft.arguments import check_distribution, keep_event_files, lora_config, processes, sft_config
from sft.check import check_data, check_rows, check_step, check_weights, require
from sft.checkpoints import last_whole, written_whole
from sft.encoding import Encoded, batches_in_order
from sft.estimate import free_memory, memory_of
from sft.examples import ExampleSet
from sft.schedules import Schedule
from sft.threads import use_free_cores

if TYPE_CHECKING:
    from rag.assemble import Opener


@dataclass(frozen=True)
class TuneSettings:
    """[tune] in emendo.toml."""

    bits: Literal["auto", "nf4", "bf16", "fp32"] = "nf4"  # auto: bf16 where half of the free memory holds it, else nf4
    rank: int = 16  # of the adapters' matrices
    alpha: int = 32  # scale of the adapters: alpha / rank
    dropout: float = 0.05  # of the adapters' inputs
    rslora: bool = False  # scale by alpha / sqrt(rank) (arXiv 2312.03732)
    dora: bool = False  # magnitude and direction apart (arXiv 2402.09353); slower
    target: str = "all-linear"  # | attention | mlp | names of linear layers, comma-separated
    layers: str = ""  # blocks that get adapters, as in 0-3,7 or 4-; all others stay frozen
    learning_rate: float | None = None  # None: by size, see `learning_rate_for`
    schedule: Schedule = "cosine"  # after the warmup; plateau has none
    floor: float = 0.1  # learning rate at the end, as a share of the highest
    drops: int = 3  # of the step schedule
    batch_size: int = 4  # rows per step on the device
    accumulate: int = 1  # steps per update
    epochs: float = 2.0  # more makes a model recite a few hundred corrections and forget the rest
    warmup_share: float = 0.05  # of the updates, while the rate rises
    weight_decay: float = 0.0  # of AdamW
    max_grad_norm: float = 1.0  # gradients are clipped to it
    neftune: float = 0.0  # noise on the embeddings (arXiv 2310.05914); 5 is usual, 0 is off
    validations: int = 4  # per run
    keep_best: bool = False  # publish the weights with the lowest validation loss, not the last ones
    patience: int = 0  # validations without improvement after which the run ends with the best weights; 0: never
    # What is learned of an answer: its tokens, or for a model that is served verbatim the choices among the units of its passages
    # (sft/choice_loss.py); auto: choices for the bundled model.
    loss: Literal["auto", "tokens", "choices"] = "auto"
    max_tokens: int = 2048  # longer rows lose their lowest-ranked passages, never their answer; else it is an error
    save_steps: int = 50  # updates between checkpoints
    replay: float = 0.0  # share of rows that are the base's own answers to general prompts, against forgetting
    # Share of rows that are text the base wrote by itself, against forgetting; None: 0.1 where choices are learned, else 0.
    replay_text: float | None = None
    replay_prompts: str = ""  # file of such prompts, one a line; "" for the ones of data/replay_prompts.txt
    general: str = ""  # text file on which forgetting is measured; "" for data/general.txt
    checkpointing: bool = False  # gradient checkpointing: less memory, about 1.4x slower
    log_to: Literal["none", "tensorboard", "mlflow", "trackio"] = "none"
    seed: int = 7  # of adapters, dropout and order

    def __post_init__(self) -> None:
        positive = (
            "rank",
            "alpha",
            "learning_rate",
            "batch_size",
            "accumulate",
            "epochs",
            "max_grad_norm",
            "validations",
            "drops",
        )
        for name in (*positive, "max_tokens", "save_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} = {value}: expected more than 0")
        for name in ("weight_decay", "neftune", "patience"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 0 or more")
        for name in ("dropout", "warmup_share", "floor", "replay", "replay_text"):
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected a share from 0 to below 1")
        if self.schedule in ("step", "exponential") and not self.floor:
            raise ValueError(f"floor = 0: the {self.schedule} schedule falls by a factor and cannot reach 0; try 0.01")


Progress = Callable[[int, int, dict[str, float]], None]  # (step, steps, {"loss": ..., "validation_loss": ...})


def tune(
    base: str, data: ExampleSet, corrections: dict[str, Correction], folder: Path, settings: TuneSettings, progress: Progress
) -> AdapterCard:
    """Tune an adapter on `data` and save it as `folder/<adapter_id>`, whole or not at all.

    The id is a hash of base, examples and settings: the same call resumes an interrupted run from its last whole checkpoint,
    and returns a finished one at once. `corrections` are the ones the examples were made from, by id.
    """
    base = resolve_base(base)
    settings = with_loss(base, data, with_bits(base, settings))
    identity = content_id(base, PROMPT_VERSION, json.dumps(dataclasses.asdict(settings)), *data.hashes, length=12)
    target, run = folder / identity, folder / f".running-{identity}"
    if (target / "card.json").is_file():
        from sft.adapters import read_card

        return read_card(target)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    use_free_cores()
    memory = memory_of(base, settings.bits, settings.rank)
    require(check_weights(memory, settings.bits))
    model, tokenizer = load_base(base, settings.bits, training=True)
    choosing = settings.loss == "choices"
    rows = check_rows(data, corrections, tokenizer, stop_token_ids(model, tokenizer), window_of(model, settings), choosing)
    require([*check_data(data, list(corrections.values())), *rows.findings])
    data = rows.data
    train = [*rows.train, *_replay(model, tokenizer, len(rows.train), run, settings)]
    trainer = build_trainer(model, tokenizer, train, rows.validation, run, settings, progress)
    require(check_step(trainer, train, rows.validation, memory, settings.bits))
    checkpoint = last_whole(run)
    from sft.trainer import saving_on_signals

    with saving_on_signals(trainer):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    losses = _losses(trainer, bool(rows.validation)) | forgetting(trainer.model, tokenizer, settings)
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
    if trainer.is_world_process_zero():
        publish(trainer, card, target, run)
    trainer.accelerator.wait_for_everyone()
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
    from transformers import EarlyStoppingCallback, PrinterCallback

    from sft.trainer import ProgressCallback, SealedTrainer, learn_choices, to_dataset

    parameters = model.num_parameters()
    ordered = batches_in_order(rows, settings.batch_size * processes(), settings.epochs, settings.seed)
    datasets.disable_progress_bars()
    trainer: Any = SealedTrainer(
        model=model,
        args=sft_config(settings, run, len(ordered), bool(validation), parameters),
        processing_class=tokenizer,
        peft_config=lora_config(settings, model),
        train_dataset=to_dataset(ordered),
        eval_dataset=to_dataset(validation) if validation else None,
        callbacks=[ProgressCallback(progress)],
    )
    check_distribution(trainer.accelerator.distributed_type, settings.bits)
    keep_event_files(trainer, run)
    trainer.schedule = (settings.schedule, settings.floor, settings.drops)
    trainer.remove_callback(PrinterCallback)
    if any(row.allowed for row in rows):
        learn_choices(trainer)
    if settings.patience:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def with_bits(base: str, settings: TuneSettings) -> TuneSettings:
    """The settings with `bits` decided; auto takes bf16 when the weights and adapters fill less than half of the free memory."""
    if settings.bits != "auto":
        return settings
    fits = memory_of(base, "bf16", settings.rank).total(0) * 2 <= free_memory()
    return dataclasses.replace(settings, bits="bf16" if fits else "nf4")


def with_loss(base: str, data: ExampleSet, settings: TuneSettings) -> TuneSettings:
    """The settings with `loss` and `replay_text` decided.

    Without passages (tasks beyond chat, files of examples) there are tokens only.
    """
    verbatim = settings.loss == "choices" or (settings.loss == "auto" and base == str(BUNDLED))
    choosing = verbatim and any(example.passages for example in data.train)
    replay_text = settings.replay_text
    if replay_text is None:
        replay_text = 0.1 if choosing else 0.0
    return dataclasses.replace(settings, loss="choices" if choosing else "tokens", replay_text=replay_text)


def as_served(opened: Opener, model: str, settings: TuneSettings) -> TuneSettings:
    """The settings with the loss that matches how the workspace answers with `model`, an hf: spec, where none is chosen."""
    verbatim = settings.loss == "auto" and opened.answer_settings(model).verbatim
    return dataclasses.replace(settings, loss="choices") if verbatim else settings


def window_of(model: Any, settings: TuneSettings) -> int:
    """The longest example in tokens: the setting's limit, or the model's own where that is lower."""
    return min(settings.max_tokens, int(getattr(model.config, "max_position_embeddings", settings.max_tokens)))


def _replay(model: Any, tokenizer: Any, rows: int, run: Path, settings: TuneSettings) -> list[Encoded]:
    """Rows against forgetting; each kind is the share of all rows that its setting says."""
    from sft.replay import replay_rows, text_rows

    replay_text = settings.replay_text or 0.0
    learned = 1 - settings.replay - replay_text
    if learned <= 0:
        raise UserError(f"tune.replay={settings.replay} and tune.replay_text={replay_text} leave no room for examples: lower one")
    made = []
    if settings.replay:
        count, prompts = max(1, round(rows * settings.replay / learned)), settings.replay_prompts
        stops = stop_token_ids(model, tokenizer)
        made += replay_rows(model, tokenizer, stops, count, run / "replay.json", Path(prompts) if prompts else None)
    if replay_text:
        count = max(1, round(rows * replay_text / learned))
        made += text_rows(model, tokenizer, count, run / "replay_text.json", settings.seed)
    return made


def forgetting(model: Any, tokenizer: Any, settings: TuneSettings) -> dict[str, float]:
    """Loss on general text, nats per token, without and with the adapter."""
    from sft.replay import general_loss

    text = Path(settings.general) if settings.general else None
    return {
        f"general_{name}": general_loss(model, tokenizer, text, adapted) for name, adapted in (("before", False), ("after", True))
    }


def _losses(trainer: Any, validated: bool) -> dict[str, float]:
    """First and last training loss (mean of up to ten steps), first and best validation loss.

    Nats per labelled token, or per row where choices are learned (`SealedTrainer`).
    """
    steps = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    checks = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    head, tail = steps[:10], steps[-10:]
    losses = {"train_first": sum(head) / len(head), "train_last": sum(tail) / len(tail)} if steps else {}
    if validated and checks:
        losses |= {"validation_last": checks[-1], "validation_best": min(checks)}
    if not all(math.isfinite(value) for value in losses.values()):
        raise UserError("the loss became infinite or not a number; lower it with --set tune.learning_rate=1e-4")
    return losses


def publish(trainer: Any, card: AdapterCard, target: Path, run: Path) -> None:
    """Write weights and card beside, then rename: an adapter folder with a card is always whole.

    UserError where they cannot be written; the run's checkpoints are kept then.
    """
    from safetensors import SafetensorError

    partial = target.with_name(f".partial-{card.adapter_id}")
    shutil.rmtree(partial, ignore_errors=True)
    with written_whole(partial, f"adapter {card.adapter_id}", OSError, SafetensorError):
        trainer.model.save_pretrained(partial)
        (partial / "losses.json").write_text(json.dumps(trainer.state.log_history), encoding="utf-8")
        (partial / "card.json").write_text(to_json(card), encoding="utf-8")
        partial.replace(target)
    shutil.rmtree(run, ignore_errors=True)
