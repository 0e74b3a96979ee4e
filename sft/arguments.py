"""[tune] settings as the arguments of TRL's trainer and PEFT's LoRA."""

from __future__ import annotations

import difflib
import importlib.util
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emendo.records import UserError

if TYPE_CHECKING:
    from sft.train import TuneSettings

GROUPS = {"attention": ("attn", "attention"), "mlp": ("mlp", "feed_forward", "ffn")}  # parts of module paths


def sft_config(settings: TuneSettings, run: Path, rows: int, validated: bool, parameters: int) -> Any:
    """SFTConfig for `rows` rows in the order they are trained on, all epochs together."""
    import torch
    from trl import SFTConfig

    updates = updates_for(settings, rows)
    every = max(1, updates // settings.validations)
    best = settings.keep_best or settings.patience > 0
    if not validated and (best or settings.schedule == "plateau"):
        raise UserError(
            "keep_best, patience and the plateau schedule need validation rows; raise --set examples.validation_share=0.1"
        )
    if best and updates < settings.validations:
        every = 1
    return SFTConfig(
        output_dir=str(run),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        num_train_epochs=1,
        learning_rate=settings.learning_rate or learning_rate_for(parameters, settings.loss),
        warmup_steps=round(settings.warmup_share * updates),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        neftune_noise_alpha=settings.neftune or None,
        max_length=None,  # lengths are checked before: nothing is cut
        completion_only_loss=True,
        train_sampling_strategy="sequential",
        gradient_checkpointing=settings.checkpointing,
        bf16=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validated else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every if best else settings.save_steps,  # the best one is among the saved ones
        save_total_limit=2,
        load_best_model_at_end=best,
        metric_for_best_model="eval_loss" if validated else None,
        greater_is_better=False if validated else None,
        restore_callback_states_from_checkpoint=settings.patience > 0,
        seed=settings.seed,
        report_to=trackers(settings.log_to),
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def updates_for(settings: TuneSettings, rows: int) -> int:
    return math.ceil(rows / (settings.batch_size * settings.accumulate * processes()))


def processes() -> int:
    """How many train together, as `accelerate launch` and `torchrun` say."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_distribution(found: Any, bits: str) -> None:
    """UserError when accelerate does not do what its configuration asked for, which it would not say; `found` is its type."""
    name = str(getattr(found, "value", found))
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true") and name != "FSDP":
        raise UserError(f"FSDP was asked for, but accelerate runs with {name}: it needs GPUs; leave it out of the configuration")
    if name == "FSDP" and bits == "nf4":
        raise UserError("FSDP shards a bf16 base; add --bits bf16 (one GPU, or DDP, tunes on nf4)")
    if processes() > 1 and name == "NO":
        raise UserError(f"{processes()} processes were started, but each would train alone; start them with `accelerate launch`")


def learning_rate_for(parameters: int, loss: str = "tokens") -> float:
    """2e-4 up to 4B parameters, 1e-4 above (about ten times the rate of a full tuning); below 100M 2e-3, on choices 1e-3."""
    if parameters < 100e6:
        return 1e-3 if loss == "choices" else 2e-3
    return 2e-4 if parameters <= 4.5e9 else 1e-4


def trackers(log_to: str) -> str:
    """`log_to` as transformers takes it; UserError when its package is not installed."""
    packages = {"none": (), "tensorboard": ("tensorboard", "tensorboardX")}.get(log_to, (log_to,))
    if packages and not any(importlib.util.find_spec(package) for package in packages):
        raise UserError(f"tune.log_to={log_to} needs the package {log_to}; install it with `pip install {log_to}`")
    return log_to


def keep_event_files(trainer: Any, run: Path) -> None:
    """TensorBoard's files go beside the run's folder, so that they outlive it; TENSORBOARD_LOGGING_DIR overrules it."""
    for callback in trainer.callback_handler.callbacks:
        if type(callback).__name__ == "TensorBoardCallback" and callback.logging_dir is None:
            callback.logging_dir = str(run.parent / "tensorboard" / run.name.removeprefix(".running-"))


def lora_config(settings: TuneSettings, model: Any) -> Any:
    """LoraConfig with adapters on the linear layers of `settings.target`, in the blocks of `settings.layers`."""
    from peft import LoraConfig

    targets = target_modules(settings.target, model)
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        layers_to_transform=chosen_layers(settings.layers, model.config.get_text_config().num_hidden_layers),
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        task_type="CAUSAL_LM",
    )


def target_modules(target: str, model: Any) -> list[str]:
    """Last names of the linear layers to adapt: all-linear, attention, mlp, or a comma-separated list of such names.

    The output head is never among them. UserError names the nearest layer when there is no such one.
    """
    import torch

    head = model.get_output_embeddings()
    paths = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head]
    names = sorted({path.rpartition(".")[2] for path in paths})
    if target == "all-linear":
        return names
    if target in GROUPS:
        found = sorted({p.rpartition(".")[2] for p in paths if any(part in p.lower() for part in GROUPS[target])})
        if found:
            return found
    asked = [name.strip() for name in target.split(",") if name.strip()]
    for name in asked:
        if name not in names:
            near = difflib.get_close_matches(name, [*names, "all-linear", *GROUPS], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"tune.target={target}: this model has no linear layer {name!r}{hint} (it has: {', '.join(names)})")
    return asked


def chosen_layers(layers: str, count: int) -> list[int] | None:
    """Block numbers of `0-3,7`; an open end means up to the first or last. None, all of them, for "". The rest stays frozen."""
    if not layers:
        return None
    chosen: set[int] = set()
    for part in layers.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            start = int(first) if first else 0
            stop = (int(last) if last else count - 1) if dash else start
        except ValueError:
            raise UserError(f"tune.layers={layers}: expected block numbers like 0-3,7 or 4-") from None
        if start > stop or stop >= count:
            raise UserError(f"tune.layers={layers}: this model has the blocks 0-{count - 1}")
        chosen |= set(range(start, stop + 1))
    return sorted(chosen)
