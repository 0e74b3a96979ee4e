"""Verbatim decoding: a language model that may only choose which units of the passages to print, each with its citation.

A unit is a sentence, a step or a table row. The model's own probabilities choose where to start, whether to go on, when to stop;
between those choices the text is forced. Whatever the model's size, nothing is printed that is not in the manual.

Whether to refuse is decided first, on the probability of the refusal as a whole: token by token, one refusal would win against
forty units that share the probability of an answer among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from emendo.units import split_units


@dataclass
class Node:
    """A place in the tree of token sequences. A unit ends with its citation, so an end has nothing after it."""

    children: dict[int, Node] = field(default_factory=dict)
    units: set[int] = field(default_factory=set)  # numbers of the units that lead through here

    def add(self, ids: Iterable[int], unit: int) -> None:
        node = self
        for token in ids:
            node.units.add(unit)
            node = node.children.setdefault(token, Node())
        node.units.add(unit)


class VerbatimPaths:
    """What may follow what has been written, for one prompt. Token ids in, token ids out."""

    def __init__(self, tokenizer: Any, passages: Sequence[str], refusal: str, stop_ids: Sequence[int], most_units: int = 8):
        self._stop = list(stop_ids)
        self._most = most_units
        self._first, self._later = Node(), Node()
        texts = [f"{unit.text} [{n}]" for n, passage in enumerate(passages, 1) for unit in split_units(passage, n)]
        for number, text in enumerate(dict.fromkeys(texts)):
            self._first.add(_ids(tokenizer, text), number)
            for between in (" ", "\n"):
                self._later.add(_ids(tokenizer, between + text), number)
        self._refusal = len(texts)
        self._first.add(_ids(tokenizer, refusal), self._refusal)
        self.refusing = not texts  # decided before the first token, see HFChatModel

    def allowed(self, written: Sequence[int]) -> list[int]:
        """Ids that may come next after the ids `written` so far: no unit is printed twice."""
        node, used = self._first, set() if self.refusing else {self._refusal}
        for token in written:
            if token not in node.children:
                return self._stop  # it has stopped; what follows is padding
            node = node.children[token]
            if not node.children:
                used |= node.units
                if self.refusing or len(used) > self._most:
                    return self._stop
                node = self._later
        open_units = {self._refusal} if self.refusing else node.units - used
        choices = [token for token, child in node.children.items() if child.units & open_units]
        return [*choices, *self._stop] if node is self._later else choices


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
