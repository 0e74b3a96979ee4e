"""After SFT, optionally: prefer the correction to what the bot had said (DPO, arXiv 2305.18290), starting from an adapter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emendo.records import AdapterCard, Correction, Example, UserError
from sft.continuing import arguments, build, continue_adapter
from sft.encoding import encode, fit
from sft.examples import ExampleSet, renumber
from sft.train import Progress


@dataclass(frozen=True)
class PreferenceSettings:
    """[preference] in emendo.toml."""

    learning_rate: float = 2e-5  # at the start; falls linearly
    beta: float = 0.1  # how dear it is to move away from the adapter that was there before
    sft_weight: float = 1.0  # of the correction's own likelihood, which plain DPO may lower (arXiv 2402.13228)
    batch_size: int = 4  # pairs per step
    epochs: float = 1.0  # passes over the pairs
    seed: int = 7  # of dropout and order

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

    def rows(tokenizer: Any, stop_ids: set[int], max_tokens: int) -> list[Any]:
        return make_pairs(data, corrections, tokenizer, stop_ids, max_tokens)

    def trainer(model: Any, tokenizer: Any, pairs: list[Any], run: Path) -> Any:
        from trl import DPOConfig, DPOTrainer

        config = DPOConfig(
            **arguments(run, settings),
            num_train_epochs=settings.epochs,
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, settings.sft_weight],
        )
        return build(DPOTrainer, model, tokenizer, pairs, config, progress)

    used = [corrections[example.correction_id] for example in data.train]
    learned = dict(zip(data.hashes, used, strict=True))
    return continue_adapter(parent, folder, "preference", settings, learned, rows, trainer)


def make_pairs(
    data: ExampleSet, corrections: Mapping[str, Correction], tokenizer: Any, stop_ids: set[int], max_tokens: int
) -> list[dict[str, list[int]]]:
    """prompt_ids, chosen_ids and rejected_ids of each training example whose correction replaced another answer.

    As in SFT an example that is longer than `max_tokens` loses its lowest-ranked passages.
    """
    pairs = []
    for example in data.train:
        correction = corrections[example.correction_id]
        if not correction.rejected.strip() or not _is_its_answer(example, correction):
            continue
        example, chosen = fit(example, correction, tokenizer, stop_ids, max_tokens)
        said = _rejected(example, correction)
        if not said or said == example.messages[-1]["content"]:
            continue
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
