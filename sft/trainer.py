"""TRL's trainer with sealed checkpoints, a stop at the first non-finite loss, and progress for people."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTTrainer

from emendo.records import UserError
from sft.checkpoints import seal
from sft.encoding import Encoded


class SealedTrainer(SFTTrainer):
    """Every checkpoint gets its manifest last, so that a torn one is never resumed from."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle
            seal(folder)


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
            raise UserError(
                f"the loss became {figures} at step {state.global_step}; lower it with --set tune.learning_rate=1e-4 "
                "(the last whole checkpoint is kept)"
            )
        if figures:
            self.report(state.global_step, state.max_steps, figures)


def to_dataset(rows: list[Encoded]) -> Dataset:
    """Tokenised rows as TRL takes them: it masks the labels where completion_mask is 0."""
    return Dataset.from_dict({"input_ids": [r.input_ids for r in rows], "completion_mask": [r.completion_mask for r in rows]})
