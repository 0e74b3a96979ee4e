"""TRL's trainer with sealed checkpoints, our schedules, labelled positions only on CPUs, and a stop that loses nothing."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from emendo.records import UserError
from sft.checkpoints import seal, written_whole
from sft.choice_loss import NONE, allowed_ids, choice_loss
from sft.encoding import Encoded
from sft.schedules import Schedule, make_scheduler


class SealedTrainer(SFTTrainer):
    """Checkpoints get their manifest last; on CPUs only labelled positions are scored."""

    schedule: tuple[Schedule, float, int] = ("cosine", 0.1, 3)  # name, floor, drops: see sft.schedules
    choosing = False  # whether rows learn choices (sft.choice_loss), see `learn_choices`

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            name, floor, drops = self.schedule
            warmup = self.args.get_warmup_steps(num_training_steps)
            self.lr_scheduler = make_scheduler(optimizer or self.optimizer, name, warmup, num_training_steps, floor, drops)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood of the labelled tokens, nats; normalised as TRL does it.

        On a GPU this is TRL's. On a CPU TRL projects every position on the vocabulary and passes a padding mask, which keeps
        attention from its causal kernel. Here only the positions that some row labels are projected; the mask is left out,
        because rows are padded on the right and a causal model never looks there.
        """
        if self.choosing:
            return self._choice_loss(model, inputs, num_items_in_batch)
        if return_outputs or inputs["input_ids"].device.type != "cpu" or self.aux_loss_enabled:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][:, 1:]
        positions = (labels != -100).any(0).nonzero().squeeze(1)
        logits = model(input_ids=inputs["input_ids"], logits_to_keep=positions, use_cache=False).logits
        kept = labels[:, positions]
        total = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), kept.flatten(), reduction="sum")
        count = (kept != -100).sum() if num_items_in_batch is None else num_items_in_batch
        return self._averaged(total, count, num_items_in_batch)

    def _averaged(self, total: Any, count: Any, num_items_in_batch: Any) -> Any:
        loss = total / torch.as_tensor(count).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # the count is that of all processes, DDP averages their gradients
        return loss

    def _choice_loss(self, model: Any, inputs: dict[str, Any], rows_in_batch: Any) -> Any:
        """Mean over rows: -log P(answer) of those that learn choices, the mean over tokens of the others; nats."""
        labels = inputs["labels"][:, 1:]
        positions = (labels != -100).any(0).nonzero().squeeze(1)
        logits = model(input_ids=inputs["input_ids"], logits_to_keep=positions, use_cache=False).logits
        kept = labels[:, positions]
        row, place = (kept != -100).nonzero(as_tuple=True)
        losses = choice_loss(logits[row, place], kept[row, place], inputs["allowed"])
        plain = (inputs["allowed"] == NONE).all(1)
        lengths = torch.bincount(row, minlength=len(labels))[row]
        total = torch.where(plain, losses / lengths, losses).sum()
        return self._averaged(total, len(labels) if rows_in_batch is None else rows_in_batch, rows_in_batch)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Of all processes: labelled tokens, or rows where choices are learned."""
        if not self.choosing:
            return super()._get_num_items_in_batch(batch_samples, device)
        rows = torch.tensor(sum(len(batch["input_ids"]) for batch in batch_samples), device=device)
        return self.accelerator.gather(rows).sum()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        with written_whole(folder, f"checkpoint {self.state.global_step}", OSError, RuntimeError, SafetensorError):
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle
                seal(folder)


@dataclass
class ChoiceCollator(DataCollatorForLanguageModeling):
    """Batches with `allowed`, (labelled tokens, most): what may stand at each labelled token, row by row, filled up with NONE."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        found: list[list[int]] = []
        for row in examples:
            found += row.get("allowed") or [[]] * sum(label != -100 for label in row["labels"][1:])
        batch["allowed"] = allowed_ids(found)
        return batch


def learn_choices(trainer: Any) -> None:
    """Where some row has `allowed`, all are learned by the loss on choices, each as one row."""
    trainer.choosing = True
    trainer._signature_columns = ["input_ids", "labels", "allowed"]
    trainer.data_collator = ChoiceCollator(trainer.data_collator.pad_token_id)


class Diverged(UserError):
    """The loss is no finite number any more."""


class ProgressCallback(TrainerCallback):
    def __init__(self, report: Callable[[int, int, dict[str, float]], None]):
        self.report = report

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        logs = logs or {}
        figures = {}
        if "loss" in logs:
            figures["loss"] = float(logs["loss"])
        if "eval_loss" in logs:
            figures["validation_loss"] = float(logs["eval_loss"])
        if any(not math.isfinite(value) for value in figures.values()):
            raise Diverged(
                f"the loss became {figures} at step {state.global_step}; lower it with --set tune.learning_rate=1e-4 "
                "(the last whole checkpoint is kept)"
            )
        if figures and state.is_world_process_zero:
            self.report(state.global_step, state.max_steps, figures | {"memory_gib": memory_gib()})


def memory_gib() -> float:
    """The most this process has held on the GPU, or what it holds now on a machine without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1024**3
    return float(psutil.Process().memory_info().rss) / 1024**3


class StopCallback(TrainerCallback):
    """Saves and stops after the step in which `asked` is set."""

    asked = False
    stopped_at = 0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.asked and state.global_step < state.max_steps:
            self.stopped_at = state.global_step
            control.should_save = control.should_training_stop = True


@contextmanager
def saving_on_signals(trainer: Any) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the run after the current step with a checkpoint and a UserError; a second one ends it at once.

    Only for a single process and the main thread: elsewhere signals keep their meaning.
    """
    if threading.current_thread() is not threading.main_thread() or trainer.args.world_size > 1:
        yield
        return
    callback = StopCallback()
    trainer.add_callback(callback)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: Any) -> None:
        callback.asked = True
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        restore()
        trainer.remove_callback(callback)
    if callback.stopped_at:
        raise UserError(
            f"stopped at step {callback.stopped_at} of {trainer.state.max_steps}; its checkpoint is saved, "
            "the same command goes on from there"
        )


def to_dataset(rows: list[Encoded]) -> Dataset:
    """Tokenised rows as TRL takes them: it masks the labels where completion_mask is 0."""
    columns: dict[str, list[Any]] = {
        "input_ids": [r.input_ids for r in rows],
        "completion_mask": [r.completion_mask for r in rows],
    }
    if any(r.allowed for r in rows):
        columns["allowed"] = [r.allowed for r in rows]
    return Dataset.from_dict(columns)
