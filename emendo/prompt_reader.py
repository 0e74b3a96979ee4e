"""Prompts read once by a model, from which many continuations are tried and one is taken, several rows at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

_REPLACED = (DynamicLayer, DynamicSlidingWindowLayer)  # layers that put new tensors in the place of the old ones, changing none


class PromptReader:
    """Key-value caches of a batch of prompts. `rows` numbers those still open, by their place in the batch given first."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], pad: int):
        self.rows = list(range(len(prompts)))
        self._model, self._pad = model, pad
        self._device = next(model.parameters()).device
        ids, self._mask = left_padded(prompts, pad, self._device)
        out = self._forward(ids, self._mask, None, keep=1)
        self._cache = out.past_key_values
        self._next = _logprobs(out.logits[:, -1])

    def next_token(self, row: int) -> Any:
        """Log-probabilities, (vocabulary,), of what follows all that `row` has read."""
        return self._next[self.rows.index(row)]

    def try_out(self, row_ids: Sequence[tuple[int, Sequence[int]]]) -> list[Any]:
        """For each (row, ids): log-probabilities, (len(ids), vocabulary), of what follows each of `ids`. Nothing is kept."""
        found: list[Any] = []
        for start in range(0, len(row_ids), max(8, len(self.rows))):  # a copy of the caches is as large as they are
            part = row_ids[start : start + max(8, len(self.rows))]
            places = torch.tensor([self.rows.index(row) for row, _ in part], device=self._device)
            cache = copy.copy(self._cache)
            cache.layers = [copy.copy(x) if type(x) in _REPLACED else copy.deepcopy(x) for x in self._cache.layers]
            cache.batch_select_indices(places)
            ids, real = self._padded([ids for _, ids in part])
            logits = self._forward(ids, torch.cat([self._mask[places], real], dim=1), cache).logits
            found += [_logprobs(logits[n, : len(row[1])]) for n, row in enumerate(part)]
        return found

    def read(self, row_ids: Mapping[int, Sequence[int]]) -> None:
        """Append the ids to their rows; rows that are not named are closed."""
        if list(row_ids) != self.rows:
            places = torch.tensor([self.rows.index(row) for row in row_ids], device=self._device)
            self._cache.batch_select_indices(places)
            self._mask, self.rows = self._mask[places], list(row_ids)
        ids, real = self._padded(list(row_ids.values()))
        self._mask = torch.cat([self._mask, real], dim=1)
        lasts, place = torch.unique(real.sum(1) - 1, return_inverse=True)
        out = self._forward(ids, self._mask, self._cache, keep=lasts)
        self._cache = out.past_key_values
        self._next = _logprobs(out.logits[torch.arange(len(place), device=self._device), place])

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Ids and mask, (rows, longest), padded on the right: what comes after a gap does not see it."""
        width = max(map(len, rows))
        ids = [list(row) + [self._pad] * (width - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        return torch.tensor(ids, device=self._device), torch.tensor(mask, device=self._device)

    def _forward(self, ids: Any, mask: Any, cache: Any, keep: Any = 0) -> Any:
        """`keep`: logits of so many last positions (0: all), or of these positions."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.inference_mode():
            return self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=keep,
            )


def left_padded(prompts: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Ids and mask, (prompts, longest): all end at the same place, where what is written begins."""
    width = max(map(len, prompts))
    ids = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _logprobs(logits: Any) -> Any:
    return logits.float().log_softmax(-1)
