"""Deep supervision: hints that tell the middle layers what each token of a passage should know. Dropped when training ends.

An answer labels a handful of tokens; whether the model *found* it hangs on one of them. The hints label every token of the
prompt: which passage it stands in, with which token its sentence began, and whether that sentence answers the question (which it
can know, because the question is read first). Deeply-supervised nets: Lee et al. 2014, 1409.5185.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import Any

IGNORED = -1
Labels = tuple[list[int], list[int], list[int]]  # per prompt token: passage number, first token of its sentence, relevant (0, 1)
_SENTENCE = re.compile(r"\n+(?:- |\[\d\] )?|(?<=[.!?]) +(?=[A-Z\"(])")
_PASSAGE = re.compile(r"\n\n\[(\d)\] ")


def labels(text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]], cited: int, units: Sequence[str]) -> Labels:
    """Labels of the rendered prompt `text`; tokens outside the passages are IGNORED."""
    passages = [(m.start(), int(m[1])) for m in _PASSAGE.finditer(text)]
    end = text.rfind("\n\nQuestion: ")
    starts = [0, *(m.end() for m in _SENTENCE.finditer(text))]
    begin = next((start for start, number in passages if number == cited), 0)
    spans = [(at, at + len(unit)) for unit in units for at in [text.find(unit, begin)]]
    number, first, relevant = [], [], []
    first_of: dict[int, int] = {}
    for token, (_, stop) in zip(ids, offsets, strict=True):
        last = stop - 1
        sentence = bisect.bisect_right(starts, last)
        first_of.setdefault(sentence, token)
        passage = bisect.bisect_right([start for start, _ in passages], last)
        inside = passage > 0 and last < end
        number.append(min(passages[passage - 1][1], 8) if inside else IGNORED)
        first.append(first_of[sentence] if inside else IGNORED)
        relevant.append(int(any(a <= last < b for a, b in spans)) if inside else IGNORED)
    return number, first, relevant


def build_hints(model: Any) -> Any:
    """Read-outs of the third layer (passage, first token) and of the fourth (relevance), as one module."""
    import torch

    hidden = model.config.hidden_size
    hints: Any = torch.nn.ModuleDict(
        {"number": torch.nn.Linear(hidden, 9), "first": torch.nn.Linear(hidden, hidden), "relevant": torch.nn.Linear(hidden, 1)}
    ).to(model.device)
    hints.seen = {}
    for layer in (2, 3):
        model.model.layers[layer].register_forward_hook(lambda _, __, out, layer=layer: hints.seen.update({layer: out}))
    return hints


def hint_loss(hints: Any, embedding: Any, labels: Any) -> Any:
    """Sum of the three mean losses in nats; labels: (3, rows, tokens) int64 on the model's device."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    number, first, relevant = labels
    third, fourth = hints.seen[2], hints.seen[3]
    inside = number != IGNORED
    picked = inside & (torch.rand(number.shape, device=number.device) < 0.12)  # scoring the vocabulary everywhere is dear
    loss = cross_entropy(hints["number"](third[inside]).float(), number[inside])
    started = cross_entropy((hints["first"](third[picked]) @ embedding.T).float(), first[picked], reduction="sum")
    loss = loss + started / picked.sum().clamp(min=1)
    found = hints["relevant"](fourth[inside])[:, 0].float()
    positive = torch.tensor(2.0, device=number.device)  # most tokens are not relevant
    return loss + 2 * binary_cross_entropy_with_logits(found, relevant[inside].float(), pos_weight=positive)
