"""The loss of a model that may only choose which units of its passages to print: its probabilities where a choice is open.

Served verbatim (emendo/verbatim.py), such a model's logits are only compared at the tokens where the open units differ, and only
among the tokens that lead on; all other text is given. So only these tokens are learned, by a softmax over what is allowed there.
The sum over an answer is -log P(answer), given that it is made of units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emendo.units import split_units

NONE = -1  # fills rows of allowed ids


def choices_of(tokenizer: Any, passages: Sequence[str], answer: str, end: int) -> tuple[list[int], list[list[int]]] | None:
    """The token ids of `answer` with the end of turn `end`, and for each the ids that are allowed there, its own first.

    The list is empty where the token is given; the first token of a unit and the end are never. None when the answer is not made
    of different units of `passages`, each followed by the number of its passage as in `Unit text. [2]`.
    """
    left = list(dict.fromkeys(f"{u.text} [{n}]" for n, text in enumerate(passages, 1) for u in split_units(text, n)))
    ids: list[int] = []
    allowed: list[list[int]] = []
    rest = answer.strip()
    while rest or not ids:
        gaps = (" ", "\n") if ids else ("",)
        begun = [(gap, text) for text in left for gap in gaps if (rest + " ").startswith((gap + text + " ", gap + text + "\n"))]
        if not begun:
            return None
        gap, text = max(begun, key=lambda said: len(said[1]))
        unit = _ids(tokenizer, gap + text)
        options = [_ids(tokenizer, gap + text) for text in left for gap in gaps]
        for n, token in enumerate(unit):
            following = {option[n] for option in options if option[:n] == unit[:n] and len(option) > n}
            following |= {end} if ids and not n else set()
            allowed.append([token, *sorted(following - {token})] if len(following) > 1 or not n else [])
        ids += unit
        left.remove(text)
        rest = rest[len(gap + text) :]
    following = {_ids(tokenizer, gap + text)[0] for text in left for gap in (" ", "\n")}
    return [*ids, end], [*allowed, [end, *sorted(following - {end})]]


def allowed_ids(rows: Sequence[Sequence[int]]) -> Any:
    """(tokens, most): the ids allowed at each token, filled up with NONE."""
    import torch

    most = max(1, *map(len, rows))
    return torch.tensor([[*ids, *[NONE] * (most - len(ids))] for ids in rows])


def choice_loss(logits: Any, labels: Any, allowed: Any) -> Any:
    """-log P(label), nats, (tokens,), where the probability is shared among the ids that are allowed.

    `logits` (tokens, vocabulary), `labels` (tokens,), `allowed` (tokens, most) ids filled up with NONE; a token with nothing
    but NONE is plain text, and its probability is shared among the whole vocabulary.
    """
    import torch

    logits = logits.float()
    among = logits.gather(1, allowed.clamp(min=0)).masked_fill(allowed == NONE, -1e9).logsumexp(-1)
    shared = torch.where((allowed == NONE).all(1), logits.logsumexp(-1), among)
    return shared - logits.gather(1, labels[:, None])[:, 0]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
