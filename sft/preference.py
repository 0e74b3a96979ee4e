"""After SFT, optionally: prefer the correction to what the bot had said (DPO, arXiv 2305.18290), starting from an adapter."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emendo.hf_model import load_base, stop_token_ids
from emendo.records import AdapterCard, Correction, Example, UserError, content_id
from emendo.store import now
from sft.adapters import read_card
from sft.encoding import encode
from sft.examples import ExampleSet, renumber
from sft.threads import use_free_cores
from sft.train import Progress, TuneSettings, forgetting, publish


@dataclass(frozen=True)
class PreferenceSettings:
    """[preference] in emendo.toml."""

    learning_rate: float = 2e-5
    beta: float = 0.1  # how dear it is to move away from the adapter that was there before
    sft_weight: float = 1.0  # of the correction's own likelihood, which plain DPO may lower (arXiv 2402.13228)
    batch_size: int = 4  # pairs per step
    epochs: float = 1.0
    seed: int = 7

    def __post_init__(self) -> None:
        for name in ("learning_rate", "beta", "batch_size", "epochs"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected more than 0")
        if not self.sft_weight >= 0:
            raise ValueError(f"sft_weight = {self.sft_weight}: expected 0 or more")


def prefer(
    parent: Path,
    data: ExampleSet,
    corrections: Mapping[str, Correction],
    folder: Path,
    settings: PreferenceSettings,
    progress: Progress,
) -> AdapterCard:
    """A new adapter `folder/<adapter_id>` that started as `parent`; UserError when no correction has a rejected answer.

    Chosen is the corrected answer, rejected what the bot had said, the prompt the one it was said to. Like any adapter it is
    to be promoted only after its evaluation, and only if it beats its parent.
    """
    old = read_card(parent)
    identity = content_id(old.adapter_id, json.dumps(dataclasses.asdict(settings)), *data.hashes, length=12)
    target, run = folder / identity, folder / f".running-{identity}"
    if (target / "card.json").is_file():
        return read_card(target)
    start = time.perf_counter()
    use_free_cores()
    model, tokenizer = load_base(old.base_model, str(old.settings["bits"]), training=True)
    pairs = make_pairs(data, corrections, tokenizer, stop_token_ids(model, tokenizer))
    trainer = _trainer(model, tokenizer, parent, pairs, run, settings, progress)
    trainer.train()
    trainer.model.delete_adapter("ref")  # DPO's frozen copy of the parent: it would be saved beside the weights
    steps = [row for row in trainer.state.log_history if "rewards/margins" in row]
    figures = {
        "train_first": steps[0]["loss"],
        "train_last": steps[-1]["loss"],
        "margin_last": steps[-1]["rewards/margins"],  # log-likelihood ratio, chosen over rejected, times beta
    }
    tuned = TuneSettings(general=str(old.settings.get("general", "")))
    card = dataclasses.replace(
        old,
        adapter_id=identity,
        settings={**old.settings, "parent": old.adapter_id, "preference": dataclasses.asdict(settings)},
        losses=figures | forgetting(trainer.model, tokenizer, tuned),
        seconds=round(time.perf_counter() - start, 1),
        at=now(),
    )
    publish(trainer, card, target, run)
    return card


def make_pairs(
    data: ExampleSet, corrections: Mapping[str, Correction], tokenizer: Any, stop_ids: set[int]
) -> list[dict[str, list[int]]]:
    """prompt_ids, chosen_ids and rejected_ids of each training example whose correction replaced another answer."""
    pairs = []
    for example in data.train:
        correction = corrections[example.correction_id]
        said = _rejected(example, correction)
        if not said or said == example.messages[-1]["content"] or not _is_its_answer(example, correction):
            continue
        chosen = encode(example, tokenizer, stop_ids)
        last = {"role": "assistant", "content": said}
        rejected = encode(dataclasses.replace(example, messages=(*example.messages[:-1], last)), tokenizer, stop_ids)
        cut = len(chosen.input_ids) - chosen.labelled
        pairs.append(
            {
                "prompt_ids": chosen.input_ids[:cut],
                "chosen_ids": chosen.input_ids[cut:],
                "rejected_ids": rejected.input_ids[cut:],
            }
        )
    if not pairs:
        raise UserError("no correction has the answer it replaced (`rejected`), so there is nothing to prefer; use `emendo tune`")
    return pairs


def _rejected(example: Example, correction: Correction) -> str:
    chunks = {hit.chunk.chunk_id: hit.chunk for hit in correction.hits}
    shown = [chunks[chunk_id] for chunk_id in example.passages]
    return renumber(dataclasses.replace(correction, corrected=correction.rejected), shown).strip()


def _is_its_answer(example: Example, correction: Correction) -> bool:
    """Not so for rows that were taught to refuse because their evidence was taken away."""
    return correction.should_abstain or set(correction.evidence) <= set(example.passages)


def _trainer(
    model: Any, tokenizer: Any, parent: Path, pairs: list[Any], run: Path, settings: PreferenceSettings, progress: Progress
) -> Any:
    import datasets
    import torch
    from peft import PeftModel
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    from sft.trainer import ProgressCallback

    class PairTrainer(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset  # rows are token ids already, from the same encoding as in SFT

    arguments = DPOConfig(
        output_dir=str(run),
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, settings.sft_weight],
        beta=settings.beta,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        num_train_epochs=settings.epochs,
        max_length=None,
        gradient_checkpointing=False,
        bf16=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        seed=settings.seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer: Any = PairTrainer(
        model=PeftModel.from_pretrained(model, parent, is_trainable=True),
        args=arguments,
        processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(pairs),
        callbacks=[ProgressCallback(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer
