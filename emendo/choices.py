"""Decoding held to a list of choices: a model may only print some of the given items, one a line.

For tasks whose answer is chosen rather than written: a label, words of the input, entries of a catalogue. The model's own
probabilities choose; whatever its size, it cannot answer in another form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:[-'’.&/][^\W_]+)*")


@dataclass(frozen=True)
class Choices:
    """What an answer may consist of: `least` to `most` of `items`, each at most once, one a line."""

    items: tuple[str, ...]
    least: int = 1
    most: int = 1
    places: tuple[tuple[int, int], ...] = ()  # where each item stands in its text; then answers keep the order and never overlap


@dataclass
class _Node:
    children: dict[int, _Node] = field(default_factory=dict)
    through: set[int] = field(default_factory=set)  # items that lead through here
    ends: set[int] = field(default_factory=set)  # items that end here

    def add(self, ids: Iterable[int], item: int) -> None:
        node = self
        for token in ids:
            node.through.add(item)
            node = node.children.setdefault(token, _Node())
        node.through.add(item)
        node.ends.add(item)


class ChoicePaths:
    """Which tokens may follow what has been written, for one prompt."""

    def __init__(self, tokenizer: Any, choices: Choices, stop_ids: Sequence[int]):
        self.choices, self._stop = choices, list(stop_ids)
        self._first, self._later = _Node(), _Node()
        for number, item in enumerate(choices.items):
            self._first.add(_ids(tokenizer, item), number)
            self._later.add(_ids(tokenizer, "\n" + item), number)
        self.refusing = False  # a choice is always made

    def allowed(self, written: Sequence[int]) -> list[int]:
        """Ids that may come next after the ids `written` so far."""
        node = self._first
        used: list[int] = []
        for token in written:
            if token in node.children:
                node = node.children[token]
                continue
            ended = self._open(used) & node.ends
            if not ended or token not in self._later.children:
                return self._stop  # it has stopped; what follows is padding
            used.append(min(ended))
            node = self._later.children[token]
        wanted = self._open(used)
        found = [token for token, child in node.children.items() if child.through & wanted]
        ended = node.ends & wanted
        if not ended:
            return found or self._stop
        done = [*used, min(ended)]
        if len(done) < self.choices.most and (rest := self._open(done)):
            found += [token for token, child in self._later.children.items() if child.through & rest]
        return found + self._stop if len(done) >= self.choices.least or not found else found

    def _open(self, used: Sequence[int]) -> set[int]:
        """The items that may still be printed."""
        everything = set(range(len(self.choices.items)))
        if not self.choices.places or not used:
            return everything - set(used)
        end = self.choices.places[used[-1]][1]
        return {item for item in everything if self.choices.places[item][0] >= end}


def word_groups(text: str, longest: int = 4) -> list[tuple[str, int, int]]:
    """(words, start, end) of every run of up to `longest` words that no punctuation breaks, each wording at its first place."""
    words = list(_WORD.finditer(text))
    found: dict[str, tuple[int, int]] = {}
    for first in range(len(words)):
        for last in range(first, min(first + longest, len(words))):
            if last > first and text[words[last - 1].end() : words[last].start()].strip(" "):
                break
            start, end = words[first].start(), words[last].end()
            found.setdefault(text[start:end], (start, end))
    return [(item, start, end) for item, (start, end) in found.items()]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
