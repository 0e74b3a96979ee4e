"""A new adapter that begins as another one: what the steps after SFT share."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emendo.base_model import load_base, stop_token_ids
from emendo.hf_model import check_adapter
from emendo.records import AdapterCard, Correction, content_id
from emendo.store import now
from sft.adapters import read_card
from sft.threads import use_free_cores
from sft.train import Progress, TuneSettings, forgetting, publish, window_of

MakeRows = Callable[[Any, set[int], int], list[Any]]  # (tokenizer, stop_ids, longest row in tokens) -> rows for the trainer
MakeTrainer = Callable[[Any, Any, list[Any], Path], Any]  # (model, tokenizer, rows, run folder) -> a trainer, not yet run


def continue_adapter(
    parent: Path,
    folder: Path,
    section: str,
    settings: Any,
    learned: Mapping[str, Correction],
    make_rows: MakeRows,
    make_trainer: MakeTrainer,
) -> AdapterCard:
    """A new adapter `folder/<adapter_id>` that started as `parent`; the same call returns a finished one at once.

    `learned` has the correction of each training row by the row's hash: the card names them beside the parent's. Its settings are
    the parent's and, under `section`, its own `settings`. UserError when the parent was made for another base or chat template.
    """
    old = read_card(parent)
    given = dataclasses.asdict(settings)
    identity = content_id(old.adapter_id, json.dumps(given), *learned, length=12)
    target, run = folder / identity, folder / f".running-{identity}"
    if (target / "card.json").is_file():
        return read_card(target)
    start = time.perf_counter()
    use_free_cores()
    model, tokenizer = load_base(old.base_model, str(old.settings["bits"]), training=True)
    check_adapter(parent, tokenizer, old.base_model)
    from peft import PeftModel

    limit = window_of(model, TuneSettings(max_tokens=int(old.settings["max_tokens"])))
    rows = make_rows(tokenizer, stop_token_ids(model, tokenizer), limit)
    trainer = make_trainer(PeftModel.from_pretrained(model, parent, is_trainable=True), tokenizer, rows, run)
    for parameter in trainer.model.parameters():  # TRL casts them to bf16, in which small steps are lost
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    trainer.train()
    trainer.model.delete_adapter("ref")  # TRL's frozen copy of the parent: it would be saved beside the weights
    steps = [row for row in trainer.state.log_history if "loss" in row]
    margins = [row["rewards/margins"] for row in steps if "rewards/margins" in row]
    figures = {"train_first": steps[0]["loss"], "train_last": steps[-1]["loss"]}
    if margins:
        figures["margin_last"] = margins[-1]  # log-likelihood ratio, chosen over rejected, times beta
    tuned = TuneSettings(general=str(old.settings.get("general", "")))
    card = dataclasses.replace(
        old,
        adapter_id=identity,
        settings={**old.settings, "parent": old.adapter_id, section: given},
        losses=figures | forgetting(trainer.model, tokenizer, tuned),
        seconds=round(time.perf_counter() - start, 1),
        at=now(),
        example_hashes=tuple(dict.fromkeys((*old.example_hashes, *learned))),
        correction_ids=tuple(dict.fromkeys((*old.correction_ids, *(row.correction_id for row in learned.values())))),
        clusters=tuple(sorted({*old.clusters, *(row.cluster for row in learned.values())})),
    )
    publish(trainer, card, target, run)
    return card


def arguments(run: Path, settings: Any) -> dict[str, Any]:
    """What the configurations of TRL's preference trainers share; `settings` has learning_rate, beta, batch_size and seed."""
    import torch

    return {
        "output_dir": str(run),
        "beta": settings.beta,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": settings.batch_size,
        "max_length": None,  # TRL would cut at 1,024 tokens
        "gradient_checkpointing": False,
        "bf16": True,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "seed": settings.seed,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
    }


def build(kind: Any, model: Any, tokenizer: Any, rows: Any, config: Any, progress: Progress) -> Any:
    """A TRL trainer of class `kind` on rows of token ids, which are from the same encoding as in SFT and not made anew."""
    import datasets
    from transformers import PrinterCallback

    from sft.trainer import ProgressCallback

    class OnTokenIds(kind):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset

    trainer: Any = OnTokenIds(
        model=model,
        args=config,
        processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(rows),
        callbacks=[ProgressCallback(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
