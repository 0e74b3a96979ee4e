"""After SFT, optionally: likelier what users liked, less likely what they did not (KTO, arXiv 2402.01306), from an adapter.

No answer needs a correction for this: a thumb is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emendo.records import AdapterCard, Example, UserError, content_id
from sft.continuing import arguments, build, continue_adapter
from sft.encoding import Encoded, batches_in_order, encode
from sft.ratings import Rated
from sft.train import Progress


@dataclass(frozen=True)
class ThumbsSettings:
    """[thumbs] in emendo.toml."""

    learning_rate: float = 2e-5  # at the start; falls linearly
    beta: float = 0.1  # how dear it is to move away from the adapter that was there before
    batch_size: int = 8  # rated answers per step; the reference point is estimated within a batch
    epochs: int = 1  # passes over the answers
    least: int = 20  # rated answers; with fewer there is too little to learn from
    seed: int = 7  # of dropout and order

    def __post_init__(self) -> None:
        for name in ("learning_rate", "beta", "epochs"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected more than 0")
        for name in ("batch_size", "least"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 2 or more, an answer is weighed against others")


@dataclass(frozen=True)
class RatedRow(Encoded):
    liked: bool


def learn_thumbs(parent: Path, rated: Sequence[Rated], folder: Path, settings: ThumbsSettings, progress: Progress) -> AdapterCard:
    """A new adapter `folder/<adapter_id>` that started as `parent`; UserError when the thumbs are few or all of one kind.

    The rarer kind weighs as much more as it is rarer. Like any adapter it is to be promoted only after its evaluation, and only
    if it beats its parent.
    """
    ups = check_thumbs(rated, settings)

    def rows(tokenizer: Any, stop_ids: set[int], _: int) -> list[Any]:
        return with_mismatches([encode_rated(one, tokenizer, stop_ids) for one in rated], settings)

    def trainer(model: Any, tokenizer: Any, rows: list[Any], run: Path) -> Any:
        from trl import KTOConfig, KTOTrainer

        downs = len(rated) - ups
        config = KTOConfig(
            **arguments(run, settings),
            num_train_epochs=1,  # the rows hold all epochs
            train_sampling_strategy="sequential",
            desirable_weight=max(1.0, downs / ups),
            undesirable_weight=max(1.0, ups / downs),
        )
        return build(KTOTrainer, model, tokenizer, rows, config, progress)

    learned = {content_id(*(message["content"] for message in one.prompt), one.text, str(one.liked)): one.row for one in rated}
    return continue_adapter(parent, folder, "thumbs", settings, learned, rows, trainer)


def check_thumbs(rated: Sequence[Rated], settings: ThumbsSettings) -> int:
    """The number of liked answers; UserError when there is too little to learn from."""
    ups = sum(one.liked for one in rated)
    if len(rated) < settings.least:
        raise UserError(
            f"{len(rated)} rated answers can be learned from ({ups} up, {len(rated) - ups} down), expected {settings.least} or "
            "more; go on rating in the chat, or lower --set thumbs.least"
        )
    if ups == len(rated):
        raise UserError(f"all {ups} thumbs are up: KTO needs both kinds; `emendo tune --set examples.thumbs_up=true` learns them")
    if not ups:
        raise UserError(f"all {len(rated)} thumbs are down: KTO needs both kinds; correct these answers and use `emendo tune`")
    return ups


def encode_rated(rated: Rated, tokenizer: Any, stop_ids: set[int]) -> RatedRow:
    """The prompt as it was served, and the answer that was rated with its end of turn."""
    messages = (*rated.prompt, {"role": "assistant", "content": rated.text})
    row = encode(Example(messages, rated.row.correction_id, rated.row.cluster, "train"), tokenizer, stop_ids)
    return RatedRow(row.input_ids, row.completion_mask, rated.liked)


def with_mismatches(rows: Sequence[RatedRow], settings: ThumbsSettings) -> list[dict[str, Any]]:
    """Rows for KTOTrainer, all epochs in their order: each with the answer of another row of its batch.

    From these mismatched pairs KTO estimates how far the model has moved as a whole, which it measures likes and dislikes from.
    """
    ordered = batches_in_order(rows, settings.batch_size, settings.epochs, settings.seed)
    made = []
    for start in range(0, len(ordered), settings.batch_size):
        batch = ordered[start : start + settings.batch_size]
        for n, row in enumerate(batch):
            cut, other = len(row.input_ids) - row.labelled, batch[n - 1]
            made.append(
                {
                    "prompt_ids": row.input_ids[:cut],
                    "completion_ids": row.input_ids[cut:],
                    "KL_completion_ids": other.input_ids[len(other.input_ids) - other.labelled :],
                    "label": row.liked,  # type: ignore[attr-defined]
                }
            )
    return made
